/** Codes in the order of their latents, so that what is known of a latent is fetched once for many of them. */
import type { RecentRows } from "./recent-rows.ts";

/** Those of latent l are from starts[l] to starts[l + 1], by ascending row. Arrays are used again and again. */
export class CodesByLatent {
	readonly starts: Uint32Array;
	/** Places among the recent rows. */
	places = new Uint32Array();
	values = new Float32Array();
	readonly #next: Uint32Array;

	constructor(d_sae: number) {
		this.starts = new Uint32Array(d_sae + 1);
		this.#next = new Uint32Array(d_sae);
	}

	sort({ rows, offsets, index, value, codes }: RecentRows): void {
		if (this.values.length < codes) {
			this.places = new Uint32Array(codes);
			this.values = new Float32Array(codes);
		}
		const { starts, places, values } = this;
		const next = this.#next;
		next.fill(0);
		for (let at = 0; at < codes; at++) next[index[at]!]!++;
		let sum = 0;
		for (let latent = 0; latent < next.length; latent++) {
			const count = next[latent]!;
			starts[latent] = sum;
			next[latent] = sum;
			sum += count;
		}
		starts[next.length] = sum;
		for (let row = 0; row < rows; row++) {
			const end = offsets[row + 1]!;
			for (let at = offsets[row]!; at < end; at++) {
				const to = next[index[at]!]!++;
				places[to] = row;
				values[to] = value[at]!;
			}
		}
	}

	/** The first code of a latent from `from` to `to` (exclusive) whose row is at `place` or later; else `to`. */
	find(place: number, from: number, to: number): number {
		const { places } = this;
		let low = from;
		let high = to;
		while (low < high) {
			const middle = (low + high) >> 1;
			if (places[middle]! < place) low = middle + 1;
			else high = middle;
		}
		return low;
	}
}
