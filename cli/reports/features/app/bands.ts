/** Samples by how they rank among a latent's activations. */
import type { PackedExample } from "../format.ts";

/** Equal parts of the ranks. */
const BANDS = 5;

/** Percentiles, and the examples between them. */
export interface Band {
	readonly from: number;
	readonly to: number;
	readonly list: readonly PackedExample[];
}

/** Samples by quantile, the highest first; bands without samples are left out. */
export function bandsOf(samples: readonly PackedExample[]): Band[] {
	const bands = Array.from({ length: BANDS }, (_, i) => BANDS - 1 - i);
	const bandOf = (quantile: number) => Math.min(BANDS - 1, Math.floor(quantile * BANDS));
	return bands
		.map((band) => ({
			from: (100 * band) / BANDS,
			to: (100 * (band + 1)) / BANDS,
			list: samples.filter(({ quantile }) => bandOf(quantile) === band),
		}))
		.filter(({ list }) => list.length > 0);
}
