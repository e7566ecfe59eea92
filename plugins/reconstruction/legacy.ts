import { Variance } from "./variance.ts";

/** Rows about whose mean the legacy figure looks, where upstream takes whatever its batch is. */
export const LEGACY_ROWS = 4096;

/**
 * What SAELens and SAEBench called explained variance until 2025, and many published numbers are: the mean over
 * rows of 1 − ‖x − x̂‖² / ‖x − mean‖², the mean being the batch's. Rows near the mean dominate it, so it is noisy
 * and low; it is here for comparison only. Fixed windows make it independent of how the stream is batched.
 */
export class LegacyExplainedVariance {
	readonly #width: number;
	readonly #window: Float32Array;
	readonly #errors = new Float64Array(LEGACY_ROWS);
	#filled = 0;
	#ratios = 0;
	#rows = 0;

	constructor(width: number) {
		this.#width = width;
		this.#window = new Float32Array(LEGACY_ROWS * width);
	}

	/** Adds the row of `x` that begins at `start`, whose squared error is `error`. */
	add(x: Float32Array, start: number, error: number): void {
		this.#window.set(x.subarray(start, start + this.#width), this.#filled * this.#width);
		this.#errors[this.#filled++] = error;
		if (this.#filled === LEGACY_ROWS) this.#closeWindow();
	}

	/** Null when no row differs from its window's mean. */
	finish(): number | null {
		this.#closeWindow();
		return this.#rows === 0 ? null : this.#ratios / this.#rows;
	}

	#closeWindow(): void {
		const variance = new Variance(this.#width);
		for (let row = 0; row < this.#filled; row++) variance.add(this.#window, row * this.#width);
		for (let row = 0; row < this.#filled; row++) {
			let deviation = 0;
			for (let i = 0; i < this.#width; i++) {
				deviation += (this.#window[row * this.#width + i]! - variance.mean[i]!) ** 2;
			}
			if (deviation === 0) continue;
			this.#ratios += 1 - this.#errors[row]! / deviation;
			this.#rows++;
		}
		this.#filled = 0;
	}
}
