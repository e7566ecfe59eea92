/** One-to-one matchings of the latents of two SAEs: the best one where it can be had, or bounds on it. */
import { dot } from "../recovery/cosines.ts";
import { bestPairs } from "../recovery/matching.ts";

/** Unit rows [latents][width] of one dictionary. */
export type Directions = readonly Float64Array[];

/** How alike latents i and j of two SAEs are. */
export type Likeness = (i: number, j: number) => number;

export interface Matching {
	/** Partner of each latent of the first SAE; −1 without one. */
	readonly partner: Int32Array;
	/** Mean likeness of the pairs, between these two; they are equal where the matching is the best there is. */
	readonly atLeast: number;
	readonly atMost: number;
	/** Mean over latents of the first of the largest likeness to one of the second, and the other way round. */
	readonly forward: number;
	readonly back: number;
}

export const cosineOf =
	(a: Directions, b: Directions): Likeness =>
	(i, j) =>
		dot(a[i]!, b[j]!);

/** The matching with the largest sum, by the Hungarian method: rows × columns values in memory. */
export function exactMatching(like: Likeness, rows: number, columns: number): Matching {
	const all = Array.from({ length: rows }, (_, i) =>
		Float64Array.from({ length: columns }, (_, j) => like(i, j)),
	);
	const nearest = new Nearest(rows, columns);
	all.forEach((row, i) => {
		nearest.add(i, row);
	});
	const pairs = bestPairs(all, (value) => value);
	const partner = new Int32Array(rows).fill(-1);
	for (const [i, j] of pairs) partner[i] = j;
	const mcc = mean(pairs.map(([i, j]) => all[i]![j]!));
	return { partner, atLeast: mcc, atMost: mcc, ...nearest.means() };
}

/**
 * Bounds on that matching in memory for one row at a time. `partner` pairs latents that are each other's nearest, which
 * is one-to-one. The best matching's mean is at least that of these pairs completed with the others in order, for that
 * is a matching too; it is at most the mean of the largest likenesses of the side with fewer latents.
 */
export async function boundedMatching(
	like: Likeness,
	rows: number,
	columns: number,
	pause: (row: number) => Promise<void>,
): Promise<Matching> {
	const nearest = new Nearest(rows, columns);
	const row = new Float64Array(columns);
	for (let i = 0; i < rows; i++) {
		if (i % 256 === 0) await pause(i);
		for (let j = 0; j < columns; j++) row[j] = like(i, j);
		nearest.add(i, row);
	}
	const partner = nearest.mutual();
	const taken = new Set(partner);
	const free = Array.from({ length: columns }, (_, j) => j).filter((j) => !taken.has(j));
	let next = 0;
	const complete = [...partner].map((j) => (j >= 0 ? j : (free[next++] ?? -1)));
	const values = complete.flatMap((j, i) => (j >= 0 ? [like(i, j)] : []));
	const { forward, back } = nearest.means();
	const most = rows < columns ? forward : columns < rows ? back : Math.min(forward, back);
	return { partner, atLeast: mean(values), atMost: most, forward, back };
}

/** The largest likeness of every row and of every column, and whose it is; ties go to the lowest index. */
class Nearest {
	readonly #row: Float64Array;
	readonly #column: Float64Array;
	readonly #ofRow: Int32Array;
	readonly #ofColumn: Int32Array;

	constructor(rows: number, columns: number) {
		this.#row = new Float64Array(rows).fill(Number.NEGATIVE_INFINITY);
		this.#column = new Float64Array(columns).fill(Number.NEGATIVE_INFINITY);
		this.#ofRow = new Int32Array(rows).fill(-1);
		this.#ofColumn = new Int32Array(columns).fill(-1);
	}

	add(i: number, row: Float64Array): void {
		for (let j = 0; j < row.length; j++) {
			const value = row[j]!;
			if (value > this.#row[i]!) {
				this.#row[i] = value;
				this.#ofRow[i] = j;
			}
			if (value > this.#column[j]!) {
				this.#column[j] = value;
				this.#ofColumn[j] = i;
			}
		}
	}

	mutual(): Int32Array {
		return this.#ofRow.map((j, i) => (this.#ofColumn[j] === i ? j : -1));
	}

	means(): { readonly forward: number; readonly back: number } {
		return { forward: mean(this.#row), back: mean(this.#column) };
	}
}

export function mean(values: ArrayLike<number>): number {
	let sum = 0;
	for (let i = 0; i < values.length; i++) sum += values[i]!;
	return sum / values.length;
}
