/** Evaluation on rows that training never sees. */
import type { TrainStep } from "saeflow";

export interface HeldOutFigures {
	readonly fvu: number;
	readonly l0: number;
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

/** FVU over all held-out rows, as the ratio of sums, with the SAE as it is. `variance` in units of the raw rows. */
export async function evaluateHeldOut(
	step: TrainStep,
	rows: Float32Array,
	shape: { readonly width: number; readonly batchSize: number },
	variance: number,
	settings: Parameters<TrainStep["evaluate"]>[1],
): Promise<HeldOutFigures> {
	const size = shape.batchSize * shape.width;
	let squaredError = 0;
	let l0 = 0;
	for (let at = 0; at < rows.length; at += size) {
		const report = await step.evaluate({ inputs: rows.subarray(at, at + size) }, settings);
		squaredError += report.squaredError;
		l0 += report.l0;
	}
	return { fvu: squaredError / (variance * settings.input_scale ** 2), l0: (l0 * size) / rows.length };
}
