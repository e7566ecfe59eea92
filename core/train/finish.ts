/** A trained SAE as a model that works on raw activations. */
import type { TrainingSpec } from "../architecture.ts";
import { foldScales } from "../fold.ts";
import { transposed } from "../matrix.ts";
import type { SaeModel, Tensor } from "../sae.ts";
import type { TrainStep } from "./step.ts";

/** What training multiplied inputs and targets by: one number, or one for each column. */
export interface DataScales {
	readonly input: number | Float32Array;
	readonly target: number | Float32Array;
}

/**
 * Reads the parameters back (their running mean, where one is kept) and folds the data's scales into them, which changes
 * no reconstruction.
 *
 * @param finish The architecture's way from what it trained to what it saves.
 */
export async function finishModel(
	step: TrainStep,
	spec: TrainingSpec,
	model: Omit<SaeModel, "tensors" | "normalize_activations">,
	scales: DataScales,
	finish: (model: SaeModel) => SaeModel = (trained) => trained,
): Promise<SaeModel> {
	const { d_in, d_sae } = model;
	const sizes = { d_in, d_sae, d_out: model.d_out ?? d_in };
	const averaged = step.arrays.includes("average.W_enc");
	const tensors: Record<string, Tensor> = {};
	for (const { name, shape } of spec.parameters) {
		const data = (await step.readArray(averaged ? `average.${name}` : name)) as Float32Array;
		tensors[name] =
			name === "W_enc"
				? { shape: [d_in, data.length / d_in], data: transposed(data, data.length / d_in, d_in) }
				: { shape: shape.map((size) => (typeof size === "number" ? size : sizes[size])), data };
	}
	if (step.arrays.includes("threshold")) {
		const data = (await step.readArray("threshold")) as Float32Array;
		tensors.threshold = { shape: [data.length], data };
	}
	return foldScales(
		finish({ ...model, normalize_activations: "none", tensors }),
		scales.input,
		scales.target,
	);
}
