/**
 * Which latents are active on the same rows, from a sketch of each latent's rows: those with the lowest hashes. As the
 * hash is of the row alone, sketches of two latents together hold a uniform sample of the rows of either (coordinated
 * bottom-k sketches: Cohen and Kaplan 2007, "Summarizing data using bottom-k sketches"; KMV synopses: Beyer et al. 2007,
 * "On synopses for distinct-value estimation under multiset operations").
 */
import type { CooccurringLatent } from "../arrow/features.ts";
import { type Activity, type Cooccurrence, phi, rank } from "./pairs.ts";

export class RowSketches {
	readonly #d_sae: number;
	readonly #size: number;
	/** [d_sae, 2 · size]; of those that fill their place the lower half is kept. */
	readonly #hashes: Uint32Array;
	readonly #filled: Uint32Array;
	/** By latent, what a hash must be below to be kept. */
	readonly #bounds: Float64Array;

	/** @param size hashes per latent, from 1. */
	constructor(d_sae: number, size: number) {
		this.#d_sae = d_sae;
		this.#size = size;
		this.#hashes = new Uint32Array(d_sae * 2 * size);
		this.#filled = new Uint32Array(d_sae);
		this.#bounds = new Float64Array(d_sae).fill(Number.POSITIVE_INFINITY);
	}

	/** Bytes of a latent's sketch, with those that finding pairs takes at the end. */
	static bytes(size: number): number {
		return 12 + (8 + 20) * size;
	}

	/** Adds the hashes of the rows at `places[from]` to `places[to - 1]`. */
	add(latent: number, hashes: Uint32Array, places: Uint32Array, from: number, to: number): void {
		let bound = this.#bounds[latent]!;
		for (let at = from; at < to; at++) {
			const hash = hashes[places[at]!]!;
			if (hash < bound) bound = this.#put(latent, hash);
		}
	}

	#put(latent: number, hash: number): number {
		const size = this.#size;
		const filled = this.#filled[latent]!;
		this.#hashes[latent * 2 * size + filled] = hash;
		this.#filled[latent] = filled + 1;
		if (filled + 1 === 2 * size) {
			this.#bounds[latent] = this.#own(latent).sort()[size - 1]!;
			this.#filled[latent] = size;
		}
		return this.#bounds[latent]!;
	}

	finish(activity: Activity): Cooccurrence {
		const size = this.#size;
		const { counts } = activity;
		for (let latent = 0; latent < this.#d_sae; latent++) {
			const own = this.#own(latent).sort();
			this.#filled[latent] = Math.min(size, own.length);
			// From here on: up to which hash all of the latent's rows are known.
			this.#bounds[latent] = counts[latent]! > size ? own[size - 1]! : Number.POSITIVE_INFINITY;
		}
		const shared = new SharedRows(this.#d_sae, (latent) => this.#own(latent));
		const error = Math.sqrt(0.25 / size);
		return {
			description:
				`estimated from each latent's ${size} rows of lowest hash: a Jaccard similarity J has a standard error of at ` +
				`most sqrt(J (1 - J) / ${size}), ${error.toPrecision(2)} where it is largest; exact for two latents that are ` +
				`active on at most ${size} rows each`,
			of: (latent, most) => this.#of(latent, most, activity, shared),
		};
	}

	#own(latent: number): Uint32Array {
		const first = latent * 2 * this.#size;
		return this.#hashes.subarray(first, first + this.#filled[latent]!);
	}

	/** How many kept hashes of a latent are at most `limit`. */
	#upTo(latent: number, limit: number): number {
		const kept = this.#filled[latent]!;
		if (this.#bounds[latent]! <= limit) return kept;
		const first = latent * 2 * this.#size;
		let low = 0;
		let high = kept;
		while (low < high) {
			const middle = (low + high) >> 1;
			if (this.#hashes[first + middle]! <= limit) low = middle + 1;
			else high = middle;
		}
		return low;
	}

	#of(latent: number, most: number, activity: Activity, shared: SharedRows): CooccurringLatent[] {
		const best: CooccurringLatent[] = [];
		const { counts } = activity;
		const known = this.#bounds[latent]!;
		const kept = this.#filled[latent]!;
		let least = 0;
		shared.each(latent, (other, both) => {
			// The sample is no smaller than the smaller sketch: most latents can be passed over at once.
			if (both < least * Math.min(kept, this.#filled[other]!)) return;
			// Up to the lower of the two hashes, all rows of both are known: a uniform sample of the rows of either.
			const limit = Math.min(known, this.#bounds[other]!);
			const jaccard = both / (this.#upTo(latent, limit) + this.#upTo(other, limit) - both);
			if (jaccard < least) return;
			const [a, b] = [counts[latent]!, counts[other]!];
			const together = Math.min(a, b, (jaccard * (a + b)) / (1 + jaccard));
			rank(best, { latent: other, jaccard, phi: phi(activity, latent, other, together) }, most);
			if (best.length === most) least = best[most - 1]!.jaccard;
		});
		return best;
	}
}

/** Which latents keep the same rows: for every kept row the latents that keep it, for every latent its rows. */
class SharedRows {
	/** Latents by row: those of row r are from starts[r] to starts[r + 1]. */
	readonly #latents: Uint32Array;
	readonly #starts: Uint32Array;
	/** Rows by latent: those of latent l are from begins[l] to begins[l + 1]. */
	readonly #rows: Uint32Array;
	readonly #begins: Uint32Array;
	readonly #counts: Uint32Array;
	readonly #found: Uint32Array;

	constructor(d_sae: number, hashesOf: (latent: number) => Uint32Array) {
		this.#begins = new Uint32Array(d_sae + 1);
		for (let latent = 0; latent < d_sae; latent++) {
			this.#begins[latent + 1] = this.#begins[latent]! + hashesOf(latent).length;
		}
		const entries = this.#begins[d_sae]!;
		// Hash and latent in one exact number, which sorts by both.
		const keys = new Float64Array(entries);
		for (let latent = 0, at = 0; latent < d_sae; latent++) {
			for (const hash of hashesOf(latent)) keys[at++] = hash * d_sae + latent;
		}
		keys.sort();
		this.#latents = new Uint32Array(entries);
		this.#rows = new Uint32Array(entries);
		const starts = new Uint32Array(entries + 1);
		const next = this.#begins.slice();
		let rows = 0;
		let last = -1;
		for (let at = 0; at < entries; at++) {
			const hash = Math.floor(keys[at]! / d_sae);
			const latent = keys[at]! - hash * d_sae;
			if (hash !== last) starts[rows++] = at;
			last = hash;
			this.#latents[at] = latent;
			this.#rows[next[latent]!++] = rows - 1;
		}
		starts[rows] = entries;
		this.#starts = starts.subarray(0, rows + 1);
		this.#counts = new Uint32Array(d_sae);
		this.#found = new Uint32Array(d_sae);
	}

	/** Calls `use` with the other latents that keep rows of this one, and how many. */
	each(latent: number, use: (other: number, both: number) => void): void {
		const counts = this.#counts;
		const found = this.#found;
		let n = 0;
		for (let at = this.#begins[latent]!; at < this.#begins[latent + 1]!; at++) {
			const row = this.#rows[at]!;
			for (let i = this.#starts[row]!; i < this.#starts[row + 1]!; i++) {
				const other = this.#latents[i]!;
				if (counts[other]!++ === 0) found[n++] = other;
			}
		}
		counts[latent] = 0;
		for (let i = 0; i < n; i++) {
			const both = counts[found[i]!]!;
			counts[found[i]!] = 0;
			if (both > 0) use(found[i]!, both);
		}
	}
}
