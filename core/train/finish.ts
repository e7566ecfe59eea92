/** A trained SAE as a model that works on raw activations. */
import { foldInputScale } from "../fold.ts";
import { transposed } from "../matrix.ts";
import type { SaeModel } from "../sae.ts";
import type { TrainStep } from "./step.ts";

/** Reads the parameters back and folds the input scale into them, which changes no reconstruction. */
export async function finishModel(
	step: TrainStep,
	model: Omit<SaeModel, "tensors" | "normalize_activations">,
	inputScale: number,
): Promise<SaeModel> {
	const { d_in, d_sae } = model;
	const read = async (name: string) => (await step.parameters.read(name)) as Float32Array;
	const tensors = {
		W_enc: { shape: [d_in, d_sae], data: transposed(await read("W_enc"), d_sae, d_in) },
		b_enc: { shape: [d_sae], data: await read("b_enc") },
		W_dec: { shape: [d_sae, d_in], data: await read("W_dec") },
		b_dec: { shape: [d_in], data: await read("b_dec") },
	};
	return foldInputScale({ ...model, normalize_activations: "none", tensors }, inputScale);
}
