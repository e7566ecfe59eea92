/**
 * The order of a shuffled stream. Rows are shuffled within blocks of `block` consecutive rows: position p of the
 * shuffled order lies in block ⌊p / block⌋, whose permutation depends on nothing but the seed and that number. A
 * reader can therefore start at any position by reading one block.
 */
import type { CounterRng } from "./random.ts";

/**
 * A permutation of 0 to rows − 1, by Fisher and Yates: entry j is the row that comes j-th.
 *
 * @param rng a family of this permutation's own, e.g. `new CounterRng(seed).derive(block)`.
 */
export function permutation(rng: CounterRng, rows: number): Uint32Array {
	const order = new Uint32Array(rows);
	for (let row = 0; row < rows; row++) order[row] = row;
	for (let last = rows - 1; last > 0; last--) {
		const other = Math.floor(rng.uniform(last) * (last + 1));
		const row = order[last]!;
		order[last] = order[other]!;
		order[other] = row;
	}
	return order;
}
