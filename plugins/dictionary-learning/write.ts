/** From an SAE to `ae.pt` and `config.json`. */
import { writeFile } from "node:fs/promises";
import { join } from "node:path";
import type { Core, SaeModel } from "saeflow";
import { writeFolder } from "../shared/folder.ts";
import { refuseForeign } from "../shared/refusals.ts";
import { checkReread } from "../shared/weights.ts";
import { CLASSES, sharedThreshold } from "./classes.ts";
import { readDictionary } from "./read.ts";

export const WEIGHTS = "ae.pt";
export const CONFIG = "config.json";

const FORMAT = {
	name: "dictionary_learning",
	architectures: ["standard", "topk", "jumprelu", "gated"],
	targets: false,
};
/** Classes that take b_dec from their input. */
const CENTRED = ["AutoEncoder", "GatedAutoEncoder", "AutoEncoderTopK", "BatchTopKSAE"];

/** @throws SaeError for an SAE that no class of the library computes. */
export async function writeDictionary(core: Core, given: SaeModel, path: string): Promise<void> {
	refuseForeign(core, given, path, FORMAT);
	const name = classOf(given);
	const model = core.withCentring(given, CENTRED.includes(name));
	const state = CLASSES[name]!.write(core, model);
	const tensors = Object.entries(state).map(([tensor, content]) =>
		"int" in content
			? { name: tensor, dtype: "i32" as const, shape: [], data: new Int32Array([content.int]) }
			: { name: tensor, dtype: "f32" as const, shape: content.shape, data: content.data },
	);
	await writeFolder(core, path, { description: CONFIG, weights: WEIGHTS }, async (folder) => {
		await core.writeTorch(join(folder, WEIGHTS), tensors);
		await writeFile(join(folder, CONFIG), describe(model, name));
		checkReread(core, model, await readDictionary(core, join(folder, WEIGHTS)), path);
	});
}

/** A jumprelu SAE that came from a BatchTopKSAE goes back to one; any other keeps a threshold for every latent. */
function classOf(model: SaeModel): string {
	const { architecture, apply_b_dec_to_input, metadata } = model;
	if (architecture === "topk") return "AutoEncoderTopK";
	if (architecture === "gated") return "GatedAutoEncoder";
	if (architecture === "standard") return apply_b_dec_to_input ? "AutoEncoder" : "AutoEncoderNew";
	const known = Number.isInteger(metadata.k) && sharedThreshold(model) !== undefined && apply_b_dec_to_input;
	return known ? "BatchTopKSAE" : "JumpReluAutoEncoder";
}

function describe({ d_in, d_sae, settings, metadata }: SaeModel, name: string): string {
	const {
		model_name = null,
		layer = null,
		submodule_name = metadata.hook_name ?? null,
		seed = null,
	} = metadata;
	const k = settings.k ?? (name === "BatchTopKSAE" ? metadata.k : undefined);
	const config = {
		trainer: {
			trainer_class: CLASSES[name]!.trainer,
			dict_class: name,
			activation_dim: d_in,
			dict_size: d_sae,
			...(k === undefined ? {} : { k }),
			layer,
			lm_name: model_name,
			submodule_name,
			seed,
		},
		// SAELens asks for the length of the contexts here.
		buffer: { d_submodule: d_in, io: "out", ctx_len: metadata.context_size ?? 128 },
	};
	return `${JSON.stringify(config, null, 2)}\n`;
}
