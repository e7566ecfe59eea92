/**
 * Variance of a stream of vectors about their mean, by Welford's update: exact to rounding however large the mean
 * is, and the same bits however the rows are batched.
 */
export class Variance {
	readonly mean: Float64Array;
	#rows = 0;
	/** Summed squared deviation from the running mean, over rows and dimensions. */
	#deviation = 0;

	constructor(width: number) {
		this.mean = new Float64Array(width);
	}

	/** Adds the row that begins at `start`. */
	add(values: ArrayLike<number>, start = 0): void {
		const { mean } = this;
		const weight = 1 / ++this.#rows;
		let deviation = 0;
		for (let i = 0; i < mean.length; i++) {
			const before = values[start + i]! - mean[i]!;
			mean[i]! += before * weight;
			deviation += before * (values[start + i]! - mean[i]!);
		}
		this.#deviation += deviation;
	}

	/** The variance summed over dimensions, E‖x − E x‖²; null without rows. */
	get total(): number | null {
		return this.#rows === 0 ? null : this.#deviation / this.#rows;
	}
}
