/** How much of a known dictionary another one has found. */
import { munkres } from "munkres";
import { cosines, type Dictionary } from "./cosines.ts";

/** Above this many pairs, the assignment of the smaller side would take minutes. */
export const MAX_MATCHED = 4096;

/**
 * Compares features that are known with the ones found.
 *
 * `mcc` pairs them one to one for the largest sum of |cosine| and is the mean over pairs, of which there are as many
 * as the smaller side has rows; `mcc_signed` does so for signed cosines, since a ReLU code can't use a
 * direction's opposite. Null when the smaller side has more than {@link MAX_MATCHED} rows.
 */
export function recovery(truth: Dictionary, found: Dictionary) {
	const similarity = cosines(truth, found);
	const best = similarity.map((row) => row.reduce(larger, -1));
	const bestTruth = bestOfColumns(similarity, found.rows, (cosine) => cosine);
	const bestTruthUnsigned = bestOfColumns(similarity, found.rows, Math.abs);
	const shareAbove = (threshold: number) => best.filter((cosine) => cosine > threshold).length / truth.rows;
	return {
		mcc: meanOfMatches(similarity, found.rows, Math.abs),
		mcc_signed: meanOfMatches(similarity, found.rows, (cosine) => cosine),
		/** Mean over true features of the best cosine: coverage. */
		mmcs_truth_to_sae: mean(best),
		/** Mean over latents of the best cosine: precision, which dead latents lower. */
		mmcs_sae_to_truth: mean(bestTruth.value),
		"recovery@0.9": shareAbove(0.9),
		"recovery@0.95": shareAbove(0.95),
		/** Distinct true features that are some latent's nearest by |cosine|, over latents. */
		uniqueness: new Set(bestTruthUnsigned.row).size / found.rows,
	};
}

function meanOfMatches(
	similarity: readonly Float64Array[],
	columns: number,
	gain: (cosine: number) => number,
): number | null {
	if (Math.min(similarity.length, columns) > MAX_MATCHED) return null;
	return mean(bestPairs(similarity, gain).map(([row, column]) => gain(similarity[row]![column]!)));
}

/** Rows and columns paired one to one, so that the sum of gains is largest: as many pairs as the shorter side has. */
export function bestPairs(
	similarity: readonly Float64Array[],
	gain: (value: number) => number,
): readonly (readonly [row: number, column: number])[] {
	return munkres(similarity.map((row) => row.map((value) => -gain(value))));
}

/** Per column the largest gain and the row that has it; ties go to the lowest row. */
function bestOfColumns(
	similarity: readonly Float64Array[],
	columns: number,
	gain: (cosine: number) => number,
): { value: Float64Array; row: Int32Array } {
	const value = new Float64Array(columns).fill(Number.NEGATIVE_INFINITY);
	const row = new Int32Array(columns);
	similarity.forEach((cosinesOfRow, r) => {
		for (let column = 0; column < columns; column++) {
			const gained = gain(cosinesOfRow[column]!);
			if (gained <= value[column]!) continue;
			value[column] = gained;
			row[column] = r;
		}
	});
	return { value, row };
}

function larger(a: number, b: number): number {
	return Math.max(a, b);
}

function mean(values: ArrayLike<number>): number {
	let sum = 0;
	for (let i = 0; i < values.length; i++) sum += values[i]!;
	return sum / values.length;
}
