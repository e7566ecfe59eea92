/**
 * Gemma Scope: JumpReLU SAEs as `params.npz`; of its second edition, also transcoders, as `config.json` and
 * `params.safetensors` with names in lower case.
 */
import { basename, join } from "node:path";
import { type Core, definePlugin, type SaeModel, type Tensor, type TensorFile } from "saeflow";
import { writeSingleFile } from "./shared/folder.ts";
import { refuseForeign } from "./shared/refusals.ts";
import {
	arrayNames,
	checked,
	checkReread,
	filled,
	isFile,
	readJson,
	weightReader,
	withFile,
} from "./shared/weights.ts";

const ARRAYS = "params.npz";
const WEIGHTS = "params.safetensors";
const CONFIG = "config.json";
const NAMES = ["W_enc", "W_dec", "b_enc", "b_dec", "threshold"];
const FORMAT = { name: "Gemma Scope", architectures: ["jumprelu", "standard", "transcoder"], targets: true };

export default definePlugin({
	name: "gemma-scope",
	apiVersion: 1,
	contributes(core) {
		return [
			{
				kind: "importer",
				name: "gemma-scope",
				summary: `${ARRAYS}, or a folder with it; folders of its second edition, with ${CONFIG} and ${WEIGHTS}`,
				options: core.z.object({}),
				detect: (path: string) => detect(core, path),
				read: (path: string) => read(core, path),
			},
			{
				kind: "exporter",
				name: "gemma-scope",
				summary: `an .npz file of float32 arrays as Gemma Scope's ${ARRAYS}, for jumprelu and standard SAEs`,
				options: core.z.object({}),
				write: (model: SaeModel, path: string) => write(core, model, path),
			},
		];
	},
});

async function detect(core: Core, path: string): Promise<boolean> {
	if ((await isFile(join(path, WEIGHTS))) || (await isFile(join(path, ARRAYS)))) return true;
	if (!(await isFile(path)) || (await core.isTorch(path))) return false;
	// Plain safetensors may have the same names, and say more.
	const names = (await isZip(core, path)) ? await arrayNames(core, path) : undefined;
	// A file of that name is one even where it is damaged, so that reading it says so.
	return names ? NAMES.slice(0, 4).every((name) => names.includes(name)) : basename(path) === ARRAYS;
}

async function isZip({ openFile, detectFormat }: Core, path: string): Promise<boolean> {
	const bytes = await openFile(path);
	try {
		return (await detectFormat(bytes)) === "npz";
	} catch {
		return false;
	} finally {
		await bytes.close();
	}
}

async function read(core: Core, path: string): Promise<SaeModel> {
	if (await isFile(path)) return readArrays(core, path);
	if (await isFile(join(path, ARRAYS))) return readArrays(core, join(path, ARRAYS));
	return readSecond(core, path);
}

async function readArrays(core: Core, path: string): Promise<SaeModel> {
	return withFile(core.openTensorFile(path), (file) => readParameters(core, file, (name) => name, {}));
}

/** Its second edition. @throws SaeError also for cross-layer transcoders, whose decoders write to many layers. */
async function readSecond(core: Core, path: string): Promise<SaeModel> {
	const { z } = core;
	const schema = z.object({
		architecture: z.enum(["jump_relu", "jumprelu"]),
		model_name: z.string().optional(),
		hf_hook_point_in: z.string().optional(),
		hf_hook_point_out: z.string().optional(),
	});
	const config = checked(core, schema, await readJson(core, join(path, CONFIG)), join(path, CONFIG));
	const { model_name, hf_hook_point_in: hook_name, hf_hook_point_out: hook_name_out } = config;
	const transcodes = hook_name_out !== undefined && hook_name_out !== hook_name;
	const metadata = { model_name, hook_name, hook_name_out: transcodes ? hook_name_out : undefined };
	return withFile(core.openSafetensors(join(path, WEIGHTS)), async (file) => {
		const model = await readParameters(
			core,
			file,
			(name) => name.replace("W_", "w_"),
			Object.fromEntries(Object.entries(metadata).filter(([, value]) => value !== undefined)),
		);
		return transcodes ? { ...model, architecture: "transcoder" } : model;
	});
}

async function readParameters(
	core: Core,
	file: TensorFile,
	called: (name: string) => string,
	metadata: SaeModel["metadata"],
): Promise<SaeModel> {
	const weights = weightReader(core, file);
	const [d_in, d_sae] = weights.matrix(called("W_enc"));
	const [, d_out] = weights.matrix(called("W_dec"));
	const tensors: Record<string, Tensor> = {
		W_enc: await weights.take(called("W_enc"), [d_in, d_sae]),
		b_enc: await weights.take("b_enc", [d_sae]),
		W_dec: await weights.take(called("W_dec"), [d_sae, d_out]),
		b_dec: await weights.take("b_dec", [d_out]),
		threshold: await weights.take("threshold", [d_sae]),
	};
	const skip = "affine_skip_connection";
	// It is multiplied from the right, x · A, where W_skip is from the left.
	if (weights.has(skip)) tensors.W_skip = await weights.takeTransposed(skip, [d_in, d_out]);
	weights.finish("an SAE of Gemma Scope's");
	return {
		architecture: tensors.W_skip || d_out !== d_in ? "transcoder" : "jumprelu",
		d_in,
		...(d_out === d_in ? {} : { d_out }),
		d_sae,
		apply_b_dec_to_input: false,
		normalize_activations: "none",
		settings: {},
		metadata,
		tensors,
	};
}

async function write(core: Core, given: SaeModel, path: string): Promise<void> {
	refuseForeign(core, given, path, FORMAT);
	const { d_in, d_out = d_in, settings, tensors } = given;
	const refuse = (reason: string) => new core.SaeError(`${path}: ${reason}; sae export native keeps it`);
	if (settings.k !== undefined)
		throw refuse("Gemma Scope has thresholds, and this SAE keeps k latents of each row");
	if (tensors.W_skip) throw refuse(`Gemma Scope's ${ARRAYS} has no skip connection`);
	const centred = core.withCentring(given, false);
	// ReLU is a JumpReLU whose thresholds are 0.
	const model: SaeModel = {
		...centred,
		architecture: d_out === d_in ? "jumprelu" : "transcoder",
		settings: {},
		tensors: { ...centred.tensors, threshold: tensors.threshold ?? filled(given.d_sae, 0) },
	};
	const arrays = NAMES.map((name) => ({ name, ...model.tensors[name]! }));
	await writeSingleFile(
		path,
		(file) => core.writeNpz(file, arrays),
		async (file) => checkReread(core, model, await readArrays(core, file), path),
	);
}
