/** What is known of each latent's activations: their number, sum, extremes and histogram. */
import type { FeatureHistogram } from "../arrow/features.ts";

export const BINS = 64;
const MIDDLE = BINS / 2;

/** More than 1 / width of any bin of float32 numbers. */
const FINEST = 2 ** 160;

/**
 * Histograms have the narrowest bins, of a power of two, that all activations fit into: 64 of them from 0 on, or 32 on
 * either side of it for a latent that has been negative. Bins that become too narrow are merged in pairs, so that
 * counts are exact and do not depend on the order of what comes.
 */
export class LatentRecords {
	readonly d_sae: number;
	readonly counts: Float64Array;
	readonly #sums: Float64Array;
	readonly #min: Float32Array;
	readonly #max: Float32Array;
	/** 1 / width of a bin; 0 before the first activation. */
	readonly #perWidth: Float64Array;
	/** The bin that begins at 0. */
	readonly #zero: Uint8Array;
	/** [d_sae, BINS] */
	readonly #bins: Uint32Array;

	/** Bytes of a latent. */
	static readonly bytes = 3 * 8 + 2 * 4 + 1 + BINS * 4;

	constructor(d_sae: number) {
		this.d_sae = d_sae;
		this.counts = new Float64Array(d_sae);
		this.#sums = new Float64Array(d_sae);
		this.#min = new Float32Array(d_sae).fill(Number.POSITIVE_INFINITY);
		this.#max = new Float32Array(d_sae).fill(Number.NEGATIVE_INFINITY);
		this.#perWidth = new Float64Array(d_sae);
		this.#zero = new Uint8Array(d_sae);
		this.#bins = new Uint32Array(d_sae * BINS);
	}

	/** Takes in activations `from` to `to` (exclusive) of `values`, at least one and none of them 0. */
	add(latent: number, values: Float32Array, from: number, to: number): void {
		let sum = this.#sums[latent]!;
		let min = this.#min[latent]!;
		let max = this.#max[latent]!;
		for (let at = from; at < to; at++) {
			const value = values[at]!;
			sum += value;
			if (value < min) min = value;
			if (value > max) max = value;
		}
		this.counts[latent]! += to - from;
		this.#sums[latent] = sum;
		this.#min[latent] = min;
		this.#max[latent] = max;
		this.#makeRoom(latent, min, max);
		const bins = this.#bins;
		const perWidth = this.#perWidth[latent]!;
		const zero = latent * BINS + this.#zero[latent]!;
		for (let at = from; at < to; at++) bins[zero + Math.floor(values[at]! * perWidth)]!++;
	}

	/** Widens bins until the extremes have one. */
	#makeRoom(latent: number, min: number, max: number): void {
		const isFirst = this.#perWidth[latent] === 0;
		if (isFirst) this.#perWidth[latent] = FINEST;
		if (min < 0 && this.#zero[latent] === 0) {
			if (isFirst) this.#zero[latent] = MIDDLE;
			else this.#widen(latent, MIDDLE);
		}
		const zero = this.#zero[latent]!;
		const fits = (perWidth: number) =>
			Math.floor(min * perWidth) + zero >= 0 && Math.floor(max * perWidth) + zero < BINS;
		while (!fits(this.#perWidth[latent]!)) {
			if (isFirst) this.#perWidth[latent]! /= 2;
			else this.#widen(latent, zero);
		}
	}

	/** Merges pairs of bins; 0 is at the beginning of bin `zero` then. */
	#widen(latent: number, zero: number): void {
		const own = this.#bins.subarray(latent * BINS, (latent + 1) * BINS);
		const [before, was] = [own.slice(), this.#zero[latent]!];
		own.fill(0);
		for (const [bin, count] of before.entries()) own[zero + ((bin - was) >> 1)]! += count;
		this.#zero[latent] = zero;
		this.#perWidth[latent]! /= 2;
	}

	/** Zeros for a latent without activations. */
	summary(latent: number): { count: number; mean: number; min: number; max: number } {
		const count = this.counts[latent]!;
		if (count === 0) return { count, mean: 0, min: 0, max: 0 };
		return { count, mean: this.#sums[latent]! / count, min: this.#min[latent]!, max: this.#max[latent]! };
	}

	/** From 0 to the last bin that has a count; of a latent that has been negative, all bins. */
	histogram(latent: number): FeatureHistogram {
		if (this.counts[latent] === 0) return { start: 0, width: 0, counts: new Uint32Array() };
		const width = 1 / this.#perWidth[latent]!;
		const own = this.#bins.subarray(latent * BINS, (latent + 1) * BINS);
		if (this.#zero[latent] === MIDDLE) return { start: -MIDDLE * width, width, counts: own };
		return { start: 0, width, counts: own.subarray(0, own.findLastIndex((count) => count > 0) + 1) };
	}

	/**
	 * About what share of a latent's activations are not larger than one of them: those of lower bins, and of its own as
	 * many as if they were evenly spread there, up to the largest. Off by less than the bin's share; 1 for the largest.
	 */
	quantile(latent: number, value: number): number {
		const { min, max, count } = this.summary(latent);
		const { start, width, counts } = this.histogram(latent);
		const bin = Math.floor((value - start) / width);
		let below = 0;
		for (let i = 0; i < bin; i++) below += counts[i]!;
		const from = Math.max(min, start + bin * width);
		const to = Math.min(max, start + (bin + 1) * width);
		const share = to > from ? (value - from) / (to - from) : 1;
		return (below + share * counts[bin]!) / count;
	}
}
