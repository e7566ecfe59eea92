/** Evaluation on rows that training never sees. */
import type { StepRows, TrainStep } from "saeflow";

export interface HeldOutFigures {
	readonly fvu: number;
	readonly l0: number;
}

/** Rows as they are evaluated, batch by batch, and the variance of what is reconstructed, in the step's units. */
export interface HeldOut {
	readonly batches: readonly StepRows[];
	readonly variance: number;
}

/** Σ ‖x − mean‖² of rows [n, width], in float64 and about the mean, which keeps digits where the mean is large. */
export function totalVariance(rows: Float32Array, width: number): number {
	const count = rows.length / width;
	const mean = new Float64Array(width);
	for (let i = 0; i < rows.length; i++) mean[i % width]! += rows[i]! / count;
	let total = 0;
	for (let i = 0; i < rows.length; i++) total += (rows[i]! - mean[i % width]!) ** 2;
	return total;
}

/** FVU over all held-out rows, as the ratio of sums, with the SAE as it is. */
export async function evaluateHeldOut(
	step: TrainStep,
	{ batches, variance }: HeldOut,
	settings: Parameters<TrainStep["evaluate"]>[1],
): Promise<HeldOutFigures> {
	let squaredError = 0;
	let l0 = 0;
	for (const rows of batches) {
		const report = await step.evaluate(rows, settings);
		squaredError += report.squaredError;
		l0 += report.l0;
	}
	return { fvu: squaredError / variance, l0: l0 / batches.length };
}
