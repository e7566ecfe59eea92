/**
 * SAEs of the library dictionary_learning: `ae.pt`, a state dict saved by PyTorch, beside `config.json`, which names
 * the class of the dictionary.
 */
import { join } from "node:path";
import { type Core, definePlugin, type SaeModel } from "saeflow";
import { CLASSES } from "./dictionary-learning/classes.ts";
import { readDictionary } from "./dictionary-learning/read.ts";
import { CONFIG, WEIGHTS, writeDictionary } from "./dictionary-learning/write.ts";
import { isFile } from "./shared/weights.ts";

export default definePlugin({
	name: "dictionary-learning",
	apiVersion: 1,
	contributes(core) {
		return [
			{
				kind: "importer",
				name: "dictionary-learning",
				summary: `folders with ${WEIGHTS} and ${CONFIG}, and single .pt files: ${Object.keys(CLASSES).join(", ")}`,
				options: core.z.object({}),
				detect: (path: string) => detect(core, path),
				read: async (path: string) => readDictionary(core, await weightsOf(path)),
			},
			{
				kind: "exporter",
				name: "dictionary-learning",
				summary: `a folder with ${WEIGHTS}, which PyTorch loads with weights_only=True, and ${CONFIG}`,
				options: core.z.object({}),
				write: (model: SaeModel, path: string) => writeDictionary(core, model, path),
			},
		];
	},
});

/** A file by itself, or the one in a folder. */
async function weightsOf(path: string): Promise<string> {
	return (await isFile(path)) ? path : join(path, WEIGHTS);
}

/** Any file of PyTorch that no other importer knows: reading it says what it lacks. */
async function detect(core: Core, path: string): Promise<boolean> {
	return core.isTorch(await weightsOf(path));
}
