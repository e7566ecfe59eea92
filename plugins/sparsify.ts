/**
 * SAEs and transcoders of EleutherAI's sparsify: `cfg.json` and `sae.safetensors` in the folder of their hook point.
 * Source: sparsify, config.py and sparse_coder.py.
 */
import { writeFile } from "node:fs/promises";
import { join } from "node:path";
import { type Core, definePlugin, type SaeModel } from "saeflow";
import { writeFolder } from "./shared/folder.ts";
import { refuseForeign } from "./shared/refusals.ts";
import {
	checked,
	checkReread,
	isFile,
	readJson,
	transposedTensor,
	weightReader,
	withFile,
} from "./shared/weights.ts";

const CFG = "cfg.json";
const WEIGHTS = "sae.safetensors";
const FORMAT = { name: "sparsify", architectures: ["topk", "groupmax", "transcoder"], targets: true };

/** What its later versions can train, and why a row by itself does not do for it. */
const BEYOND_A_ROW: Readonly<Record<string, string>> = {
	gram_lookup:
		"it encodes what a table of n-grams, kept elsewhere, leaves of a row, so its file alone can't be run",
	embed_skip: "it reconstructs from the model's embeddings too, so rows of one hook point can't be run",
};

export default definePlugin({
	name: "sparsify",
	apiVersion: 1,
	contributes(core) {
		return [
			{
				kind: "importer",
				name: "sparsify",
				summary: `folders with ${CFG} and ${WEIGHTS}: topk, groupmax and transcoders`,
				options: core.z.object({}),
				detect: (path: string) => isFile(join(path, WEIGHTS)),
				read: (path: string) => read(core, path),
			},
			{
				kind: "exporter",
				name: "sparsify",
				summary: `a folder with ${CFG} and ${WEIGHTS}, for topk, groupmax and topk transcoders`,
				options: core.z.object({}),
				write: (model: SaeModel, path: string) => write(core, model, path),
			},
		];
	},
});

function schema({ z }: Core) {
	return z.object({
		activation: z.enum(["topk", "groupmax"]).default("topk"),
		expansion_factor: z.number().positive().default(32),
		num_latents: z.int().min(0).default(0),
		k: z.int().min(1).default(32),
		d_in: z.int().min(1),
		transcode: z.boolean().default(false),
		skip_connection: z.boolean().default(false),
		// Of its first versions: no ReLU, and the k farthest from 0.
		signed: z.boolean().default(false),
	});
}

async function read(core: Core, path: string): Promise<SaeModel> {
	const { SaeError } = core;
	const json = await readJson(core, join(path, CFG));
	const foreign = Object.keys(BEYOND_A_ROW).find((key) => json[key] === true);
	if (foreign) throw new SaeError(`${join(path, CFG)}: ${foreign} is true: ${BEYOND_A_ROW[foreign]}`);
	const cfg = checked(core, schema(core), json, join(path, CFG));
	const { d_in, k, transcode, activation } = cfg;
	// 0 stands for the width that the expansion factor gives.
	const d_sae = cfg.num_latents || Math.round(d_in * cfg.expansion_factor);
	return withFile(core.openSafetensors(join(path, WEIGHTS)), async (file) => {
		const weights = weightReader(core, file);
		const tensors = {
			W_enc: await weights.takeTransposed("encoder.weight", [d_sae, d_in]),
			b_enc: await weights.take("encoder.bias", [d_sae]),
			W_dec: await weights.take("W_dec", [d_sae, d_in]),
			b_dec: await weights.take("b_dec", [d_in]),
			...(cfg.skip_connection ? { W_skip: await weights.take("W_skip", [d_in, d_in]) } : {}),
		};
		weights.finish("an SAE of sparsify's");
		if (cfg.signed && (transcode || cfg.skip_connection || activation !== "topk")) {
			throw new SaeError(`${path}: codes of either sign (signed) can be run of plain topk SAEs alone`);
		}
		if (activation === "groupmax" && (cfg.skip_connection || d_sae % k !== 0)) {
			throw new SaeError(
				cfg.skip_connection
					? `${path}: a groupmax SAE with a skip connection can't be run`
					: `${path}: ${d_sae} latents can't be cut into ${k} equal groups`,
			);
		}
		const model: SaeModel = {
			architecture: cfg.signed ? "signed-topk" : activation,
			d_in,
			d_sae,
			apply_b_dec_to_input: !transcode,
			normalize_activations: "none",
			settings: { k },
			metadata: transcode ? transcoderHooks(hookOf(path)) : { hook_name: hookOf(path) },
			tensors,
		};
		if (activation === "groupmax" || !(transcode || cfg.skip_connection)) return model;
		return { ...core.withCentring(model, false), architecture: "transcoder" };
	});
}

/** The folder is called like the module; of runs with several seeds, the one above it. */
function hookOf(path: string): string {
	const parts = path.split(/[/\\]/).filter((part) => part !== "" && !/^seed\d+$/.test(part));
	return parts.at(-1) ?? path;
}

/** A transcoder reads its module's input, which is where the norm before it ends; that of other modules has no name here. */
function transcoderHooks(module: string): SaeModel["metadata"] {
	const [, layer] = /^(?:.*\.)?(?:h|layers)\.(\d+)\.mlp$/.exec(module) ?? [];
	return { ...(layer && { hook_name: `blocks.${layer}.ln2.out` }), hook_name_out: module };
}

async function write(core: Core, given: SaeModel, path: string): Promise<void> {
	refuseForeign(core, given, path, FORMAT);
	const { architecture, d_in, d_out = d_in, d_sae, settings } = given;
	const refuse = (reason: string) => new core.SaeError(`${path}: ${reason}; sae export native keeps it`);
	if (typeof settings.k !== "number") {
		throw refuse("sparsify keeps the k largest of each row, and this transcoder has no k");
	}
	if (d_out !== d_in) throw refuse(`sparsify's decoders are as wide as the input, ${d_in}, not ${d_out}`);
	const transcode = architecture === "transcoder";
	const model = core.withCentring(given, !transcode);
	const { W_enc, b_enc, W_dec, b_dec, W_skip } = model.tensors;
	const cfg = {
		activation: architecture === "groupmax" ? "groupmax" : "topk",
		expansion_factor: d_sae / d_in,
		normalize_decoder: core.hasUnitDecoder(model),
		num_latents: d_sae,
		k: settings.k,
		multi_topk: false,
		skip_connection: W_skip !== undefined,
		transcode,
		d_in,
	};
	const tensors = {
		"encoder.weight": transposedTensor(core, W_enc!),
		"encoder.bias": b_enc!,
		W_dec: W_dec!,
		b_dec: b_dec!,
		...(W_skip ? { W_skip } : {}),
	};
	await writeFolder(core, path, { description: CFG, weights: WEIGHTS }, async (folder) => {
		const entries = Object.entries(tensors).map(([name, tensor]) => ({
			name,
			dtype: "f32" as const,
			...tensor,
		}));
		await core.writeSafetensors(join(folder, WEIGHTS), entries, { format: "pt" });
		await writeFile(join(folder, CFG), `${JSON.stringify(cfg, null, 2)}\n`);
		checkReread(core, model, await read(core, folder), path);
	});
}
