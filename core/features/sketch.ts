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
	/** [d_sae, size]; heaps with the largest first once they are full. */
	readonly #hashes: Uint32Array;
	readonly #filled: Uint32Array;

	/** @param size hashes per latent, from 1. */
	constructor(d_sae: number, size: number) {
		this.#d_sae = d_sae;
		this.#size = size;
		this.#hashes = new Uint32Array(d_sae * size);
		this.#filled = new Uint32Array(d_sae);
	}

	/** Adds the hash of a row, which is below what was returned last; returns what further ones must be below. */
	add(latent: number, hash: number): number {
		const size = this.#size;
		const heap = this.#hashes;
		const first = latent * size;
		const filled = this.#filled[latent]!;
		if (filled === size) {
			sink(heap, first, size, 0, hash);
			return heap[first]!;
		}
		heap[first + filled] = hash;
		this.#filled[latent] = filled + 1;
		if (filled + 1 < size) return Number.POSITIVE_INFINITY;
		for (let at = (size >> 1) - 1; at >= 0; at--) sink(heap, first, size, at, heap[first + at]!);
		return heap[first]!;
	}

	finish(activity: Activity): Cooccurrence {
		const size = this.#size;
		for (let latent = 0; latent < this.#d_sae; latent++) this.#own(latent).sort();
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
		return this.#hashes.subarray(latent * this.#size, latent * this.#size + this.#filled[latent]!);
	}

	/** Up to which hash all rows of a latent are known. */
	#known(latent: number, activity: Activity): number {
		const own = this.#own(latent);
		return activity.count(latent) > own.length ? own.at(-1)! : Number.POSITIVE_INFINITY;
	}

	#of(latent: number, most: number, activity: Activity, shared: SharedRows): CooccurringLatent[] {
		const best: CooccurringLatent[] = [];
		const own = this.#own(latent);
		const known = this.#known(latent, activity);
		const a = activity.count(latent);
		shared.each(latent, (other, both) => {
			// The sample is no smaller than the smaller sketch: most latents can be passed over at once.
			const least = Math.min(own.length, this.#filled[other]!);
			if (best.length === most && both < least * best[most - 1]!.jaccard) return;
			// Up to the lower of the two hashes, all rows of both are known: a uniform sample of the rows of either.
			const limit = Math.min(known, this.#known(other, activity));
			const jaccard = both / (upTo(own, limit) + upTo(this.#own(other), limit) - both);
			const b = activity.count(other);
			const together = Math.min(a, b, (jaccard * (a + b)) / (1 + jaccard));
			rank(best, { latent: other, jaccard, phi: phi(activity, latent, other, together) }, most);
		});
		return best;
	}
}

/** How many of ascending hashes are at most `limit`. */
function upTo(hashes: Uint32Array, limit: number): number {
	if (hashes.length === 0 || hashes[hashes.length - 1]! <= limit) return hashes.length;
	let low = 0;
	let high = hashes.length;
	while (low < high) {
		const middle = (low + high) >> 1;
		if (hashes[middle]! <= limit) low = middle + 1;
		else high = middle;
	}
	return low;
}

/** Puts `hash` at place `at` of a heap, or below it. */
function sink(heap: Uint32Array, first: number, size: number, at: number, hash: number): void {
	let place = at;
	for (;;) {
		let child = 2 * place + 1;
		if (child >= size) break;
		if (child + 1 < size && heap[first + child + 1]! > heap[first + child]!) child++;
		if (heap[first + child]! <= hash) break;
		heap[first + place] = heap[first + child]!;
		place = child;
	}
	heap[first + place] = hash;
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
