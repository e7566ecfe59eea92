/** From a model's folder to one that runs on the GPU. */
import type { Gpu } from "../gpu/device.ts";
import { openWeights, readModelSpec } from "./folder.ts";
import type { Transformer, TransformerOptions } from "./transformer.ts";

export interface OpenTransformerOptions extends TransformerOptions {
	/** By default one is opened, and closed with the model. */
	readonly gpu?: Gpu;
}

/**
 * Loads a language model from a folder in Hugging Face's layout.
 *
 * @throws SaeError for what can't be run or is missing, naming file and field; a device error when there is no GPU or
 * too little memory.
 * @example
 * const model = await openTransformer(await findModel("openai-community/gpt2", console), { context: 256 });
 * const batch = { tokens, sequences: [{ length: tokens.length }] };
 * await model.run(batch, new Map([["blocks.5.hook_resid_post", async (value) => use(await model.read(value))]]));
 * model.close();
 */
export async function openTransformer(
	folder: string,
	options: OpenTransformerOptions = {},
): Promise<Transformer> {
	// Loaded here, for most uses of this package need no GPU.
	const { Transformer } = await import("./transformer.ts");
	const spec = await readModelSpec(folder);
	const weights = await openWeights(folder, spec);
	if (options.gpu) return Transformer.open(options.gpu, spec, weights, options);
	const { openGpu } = await import("../gpu/device.ts");
	const gpu = await openGpu();
	return Transformer.open(gpu, spec, weights, options, () => gpu.close()).catch((error) => {
		gpu.close();
		throw error;
	});
}
