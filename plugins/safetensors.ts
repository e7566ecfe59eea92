/**
 * An SAE as one plain safetensors file: arrays by the field's names, and what else it is as JSON in the file's
 * metadata. Arrays alone don't tell a ReLU from a topk SAE, nor whether b_dec is taken from inputs, so that files without
 * that are refused.
 */
import { dirname, join } from "node:path";
import { type Core, definePlugin, type SaeModel, type Tensor, type TensorFile } from "saeflow";
import { writeSingleFile } from "./shared/folder.ts";
import { checked, checkReread, isFile, weightReader, withFile } from "./shared/weights.ts";

/** Key of the description in the file's metadata. */
const DESCRIPTION = "sae";

export default definePlugin({
	name: "safetensors",
	apiVersion: 1,
	contributes(core) {
		return [
			{
				kind: "importer",
				name: "safetensors",
				summary: "single safetensors files with W_enc, W_dec, b_dec and what their architecture has besides",
				options: core.z.object({}),
				detect: (path: string) => detect(core, path),
				read: (path: string) => read(core, path),
			},
			{
				kind: "exporter",
				name: "safetensors",
				summary: "one safetensors file, described in its metadata, of any SAE",
				options: core.z.object({}),
				write: (model: SaeModel, path: string) => write(core, model, path),
			},
		];
	},
});

async function detect(core: Core, path: string): Promise<boolean> {
	if (!(await isFile(path))) return false;
	try {
		return await withFile(
			core.openSafetensors(path),
			async ({ tensors, metadata }) =>
				tensors.has("W_enc") &&
				tensors.has("W_dec") &&
				// SAELens' weights beside their description are a part of the folder.
				(metadata[DESCRIPTION] !== undefined || !(await isFile(join(dirname(path), "cfg.json")))),
		);
	} catch {
		return false;
	}
}

async function read(core: Core, path: string): Promise<SaeModel> {
	return withFile(core.openSafetensors(path), async (file) => {
		const described = describedIn(core, file);
		const weights = weightReader(core, file);
		const tensors: Record<string, Tensor> = {};
		for (const [name, { shape }] of file.tensors) tensors[name] = await weights.take(name, shape);
		return { ...described, tensors };
	});
}

type Description = Omit<SaeModel, "tensors">;

function describedIn(core: Core, file: TensorFile): Description {
	const { z } = core;
	const text = file.metadata[DESCRIPTION];
	if (text === undefined) {
		throw new core.SaeError(
			`${file.path}: its metadata does not say how the SAE encodes, and its arrays may be of a ReLU, a topk or another one; put them into a folder as sae_weights.safetensors, beside a cfg.json as SAELens has it`,
		);
	}
	const size = z.int().min(1);
	const schema = z.object({
		architecture: z.string(),
		d_in: size,
		d_out: size.optional(),
		d_sae: size,
		apply_b_dec_to_input: z.boolean(),
		normalize_activations: z.enum([
			"none",
			"constant_norm_rescale",
			"layer_norm",
			"expected_average_only_in",
		]),
		settings: z.record(z.string(), z.union([z.number(), z.string(), z.boolean()])),
		metadata: z.record(z.string(), z.unknown()),
	});
	let json: unknown;
	try {
		json = JSON.parse(text);
	} catch {
		throw new core.SaeError(`${file.path}: the metadata's ${DESCRIPTION} is not sound JSON`);
	}
	const said = checked(core, schema, json, `${file.path}: ${DESCRIPTION}`);
	checkSizes(core, file, said);
	return said;
}

function checkSizes({ SaeError }: Core, file: TensorFile, { d_in, d_sae, d_out = d_in }: Description): void {
	for (const [name, shape] of [
		["W_dec", [d_sae, d_out]],
		["b_dec", [d_out]],
	] as const) {
		const found = file.tensors.get(name)?.shape.join(", ") ?? "none";
		if (found !== shape.join(", ")) {
			throw new SaeError(`${file.path}: tensor ${name} has the shape [${found}], not [${shape.join(", ")}]`);
		}
	}
}

async function write(core: Core, model: SaeModel, path: string): Promise<void> {
	const { tensors, ...description } = model;
	const entries = Object.entries(tensors).map(([name, tensor]) => ({
		name,
		dtype: "f32" as const,
		...tensor,
	}));
	await writeSingleFile(
		path,
		(file) =>
			core.writeSafetensors(file, entries, { format: "pt", [DESCRIPTION]: JSON.stringify(description) }),
		async (file) => checkReread(core, model, await read(core, file), path),
	);
}
