/** From `ae.pt` and `config.json` to an SAE. */
import { dirname, join } from "node:path";
import type { Core, SaeModel } from "saeflow";
import { peekJson, type WeightReader, weightReader, withFile } from "../shared/weights.ts";
import { CLASSES, classByTensors } from "./classes.ts";

/** @throws SaeError for a file that is damaged, of a class that is not known, or whose class nothing tells. */
export async function readDictionary(core: Core, path: string): Promise<SaeModel> {
	return withFile(core.openTorch(path), async (file) => {
		const interrupted = isMap(file.root) && isMap(file.root.get("ae"));
		const weights = weightReader(core, file, interrupted ? "ae." : "");
		const trainer = await trainerOf(path, interrupted ? file.root : undefined);
		const name = className(core, weights, trainer.dict_class, path);
		const read = await CLASSES[name]!.read(core, weights, path);
		weights.finish(name);
		const model: SaeModel = {
			...read,
			normalize_activations: "none",
			metadata: provenance(name, trainer, weights.has("k") ? await weights.scalar("k") : undefined),
		};
		if (!interrupted) return model;
		// The class's scale_biases() comes only at the end of a run: what it left was trained on x / norm_factor.
		const factor = (file.root as Map<unknown, unknown>).get("norm_factor");
		return typeof factor === "number" ? core.foldInputScale(model, 1 / factor) : model;
	});
}

/** Fields of config.json that say what the SAE is and where it is from; any may be missing. */
type Trainer = Readonly<Record<string, unknown>>;

async function trainerOf(path: string, checkpoint: unknown): Promise<Trainer> {
	const folder = dirname(path);
	// Checkpoints lie in a folder of their own, one below the description.
	for (const file of [join(folder, "config.json"), join(dirname(folder), "config.json")]) {
		const trainer = (await peekJson(file))?.trainer;
		if (typeof trainer === "object" && trainer !== null) return trainer as Trainer;
	}
	const config = isMap(checkpoint) ? checkpoint.get("config") : undefined;
	return isMap(config) ? Object.fromEntries([...config].map(([key, value]) => [String(key), value])) : {};
}

function className({ SaeError }: Core, weights: WeightReader, said: unknown, path: string): string {
	if (typeof said === "string") {
		if (Object.hasOwn(CLASSES, said)) return said;
		throw new SaeError(
			`${path}: config.json names the class ${said}, which can't be read; ${Object.keys(CLASSES).join(", ")} can`,
		);
	}
	const found = classByTensors(weights);
	if (found) return found;
	throw new SaeError(
		weights.has("encoder.weight") && weights.has("k")
			? `${path}: has no config.json beside it, and its tensors may be of AutoEncoderTopK or of BatchTopKSAE, which encode differently; put the config.json there that trainer.dict_class is in`
			: `${path}: is a file of PyTorch whose tensors are of no SAE that is known; config.json, which would name its class, is missing`,
	);
}

function provenance(name: string, trainer: Trainer, k: number | undefined): SaeModel["metadata"] {
	const { lm_name, layer, submodule_name, trainer_class, seed } = trainer;
	const said = {
		model_name: lm_name,
		layer,
		submodule_name,
		trainer_class,
		seed,
		dict_class: name,
		k,
	};
	return Object.fromEntries(
		Object.entries(said).filter(([, value]) => value !== undefined && value !== null),
	);
}

function isMap(value: unknown): value is Map<unknown, unknown> {
	return value instanceof Map;
}
