/** What is known of each latent's activations: their number, sum, extremes and histogram. */
import type { FeatureHistogram } from "../arrow/features.ts";

/** Numbers of a latent lie side by side, so that an activation touches one line of the processor's cache. */
export const FIELDS = 8;
export const COUNT = 0;
export const SUM = 1;
export const MIN = 2;
export const MAX = 3;
/** 1 / width of a bin; infinite before the first activation. */
export const PER_WIDTH = 4;
/** An activation has to be larger to be a top example. */
export const TOP_ABOVE = 5;
/** The activation's hash has to be below it to be a sample. */
export const SAMPLE_BELOW = 6;
/** The row's hash has to be below it for the sketch of rows. */
export const SKETCH_BELOW = 7;

export const BINS = 64;

/** More than 1 / width of any bin of float32 numbers. */
const FINEST = 2 ** 160;

/**
 * Histograms have the narrowest bins, of a power of two, that all activations fit into: 64 of them from 0 on, or 32 on
 * either side of it for a latent that has been negative. Bins that become too narrow are merged in pairs, so that
 * counts are exact and do not depend on the order of what comes.
 */
export class LatentRecords {
	readonly d_sae: number;
	/** [d_sae, FIELDS] */
	readonly numbers: Float64Array;
	/** [d_sae, BINS] */
	readonly bins: Uint32Array;

	constructor(d_sae: number) {
		this.d_sae = d_sae;
		this.bins = new Uint32Array(d_sae * BINS);
		this.numbers = new Float64Array(d_sae * FIELDS);
		for (let at = 0; at < this.numbers.length; at += FIELDS) {
			this.numbers[at + MIN] = Number.POSITIVE_INFINITY;
			this.numbers[at + MAX] = Number.NEGATIVE_INFINITY;
			this.numbers[at + PER_WIDTH] = Number.POSITIVE_INFINITY;
		}
	}

	/** Makes room for the first negative activation of a latent, before it is counted. */
	makeSigned(latent: number): void {
		if (Number.isFinite(this.numbers[latent * FIELDS + PER_WIDTH]!)) this.#widen(latent, 0, BINS / 2);
	}

	/** Makes bins wide enough for a value that has none, and returns its own. MIN and MAX are up to date. */
	fit(latent: number, value: number): number {
		const at = latent * FIELDS + PER_WIDTH;
		const base = this.numbers[at - PER_WIDTH + MIN]! < 0 ? BINS / 2 : 0;
		const binOf = () => Math.floor(value * this.numbers[at]!) + base;
		const outside = () => binOf() < 0 || binOf() >= BINS;
		if (!Number.isFinite(this.numbers[at]!)) {
			this.numbers[at] = FINEST;
			while (outside()) this.numbers[at]! /= 2;
		}
		while (outside()) this.#widen(latent, base, base);
		return binOf();
	}

	/** Merges pairs of bins; 0 is at the beginning of bin `from`, then at that of bin `to`. */
	#widen(latent: number, from: number, to: number): void {
		const own = this.bins.subarray(latent * BINS, (latent + 1) * BINS);
		const before = own.slice();
		own.fill(0);
		for (const [bin, count] of before.entries()) own[to + ((bin - from) >> 1)]! += count;
		this.numbers[latent * FIELDS + PER_WIDTH]! /= 2;
	}

	count(latent: number): number {
		return this.numbers[latent * FIELDS + COUNT]!;
	}

	/** Zeros for a latent without activations. */
	summary(latent: number): { count: number; mean: number; min: number; max: number } {
		const at = latent * FIELDS;
		const count = this.numbers[at + COUNT]!;
		if (count === 0) return { count, mean: 0, min: 0, max: 0 };
		const [sum, min, max] = [SUM, MIN, MAX].map((field) => this.numbers[at + field]!) as [
			number,
			number,
			number,
		];
		return { count, mean: sum / count, min, max };
	}

	/** From 0 to the last bin that has a count; of a latent that has been negative, all bins. */
	histogram(latent: number): FeatureHistogram {
		const at = latent * FIELDS;
		if (this.numbers[at + COUNT] === 0) return { start: 0, width: 0, counts: new Uint32Array() };
		const width = 1 / this.numbers[at + PER_WIDTH]!;
		const own = this.bins.subarray(latent * BINS, (latent + 1) * BINS);
		if (this.numbers[at + MIN]! < 0) return { start: (-BINS / 2) * width, width, counts: own };
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
