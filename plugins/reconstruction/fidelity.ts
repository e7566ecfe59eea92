/** How near reconstructions are to their inputs. All sums are float64 and run row by row. */
import { LegacyExplainedVariance } from "./legacy.ts";
import { Variance } from "./variance.ts";

/** Norms below this have no direction worth comparing. */
const SMALLEST_NORM = 1e-6;

export class Fidelity {
	readonly #width: number;
	readonly #input: Variance;
	readonly #error: Variance;
	readonly #legacy: LegacyExplainedVariance | undefined;
	readonly #difference: Float64Array;
	#rows = 0;
	#squaredError = 0;
	#reconstructionNorm2 = 0;
	#product = 0;
	readonly #nmse = new Mean();
	readonly #cosine = new Mean();
	readonly #normRatio = new Mean();
	readonly #inputNorm = new Mean();
	readonly #outputNorm = new Mean();

	/** @param legacy whether to compute the legacy explained variance too, which holds thousands of rows. */
	constructor(width: number, { legacy = true } = {}) {
		this.#width = width;
		this.#input = new Variance(width);
		this.#error = new Variance(width);
		this.#legacy = legacy ? new LegacyExplainedVariance(width) : undefined;
		this.#difference = new Float64Array(width);
	}

	/** Adds inputs `x` and their reconstructions `y`, both [rows, width]. */
	add(x: Float32Array, y: Float32Array): void {
		for (let start = 0; start < x.length; start += this.#width) this.#addRow(x, y, start);
	}

	#addRow(x: Float32Array, y: Float32Array, start: number): void {
		let error = 0;
		let xx = 0;
		let yy = 0;
		let xy = 0;
		for (let i = 0; i < this.#width; i++) {
			const a = x[start + i]!;
			const b = y[start + i]!;
			this.#difference[i] = a - b;
			error += (a - b) * (a - b);
			xx += a * a;
			yy += b * b;
			xy += a * b;
		}
		this.#rows++;
		this.#squaredError += error;
		this.#reconstructionNorm2 += yy;
		this.#product += xy;
		this.#input.add(x, start);
		this.#error.add(this.#difference);
		this.#legacy?.add(x, start, error);
		const xNorm = Math.sqrt(xx);
		const yNorm = Math.sqrt(yy);
		this.#inputNorm.add(xNorm);
		this.#outputNorm.add(yNorm);
		if (xNorm < SMALLEST_NORM) return;
		this.#nmse.add(error / xx);
		this.#normRatio.add(yNorm / xNorm);
		if (yNorm >= SMALLEST_NORM) this.#cosine.add(xy / (xNorm * yNorm));
	}

	/** Figures over all rows; null where one is undefined, e.g. the FVU of constant inputs. */
	finish() {
		const mse = this.#rows === 0 ? null : this.#squaredError / this.#rows;
		const fvu = ratio(mse, this.#input.total);
		return {
			rows: this.#rows,
			/** Squared error summed over dimensions, mean over rows. */
			mse,
			mse_per_dim: ratio(mse, this.#width),
			/** Squared error over the variance about the mean vector: the normalised MSE of Gao et al. */
			fvu,
			explained_variance: complement(fvu),
			explained_variance_legacy: this.#legacy?.finish() ?? null,
			/** As explained_variance, but a constant error costs nothing (dictionary_learning). */
			ev_bias_free: complement(ratio(this.#error.total, this.#input.total)),
			/** Mean over rows of ‖x − x̂‖² / ‖x‖² (OpenAI's code). */
			nmse: this.#nmse.value,
			cosine: this.#cosine.value,
			/** Means of ‖x‖ and ‖x̂‖. */
			l2_norm_in: this.#inputNorm.value,
			l2_norm_out: this.#outputNorm.value,
			/** Mean of ‖x̂‖ / ‖x‖. */
			l2_ratio: this.#normRatio.value,
			/** E‖x̂‖² / E[x·x̂]; below 1 reconstructions shrink (Gated SAE, equation 10). */
			relative_reconstruction_bias: this.#rows === 0 ? null : ratio(this.#reconstructionNorm2, this.#product),
		};
	}
}

/** Mean over the rows for which a figure is defined. */
class Mean {
	#sum = 0;
	#count = 0;

	add(value: number): void {
		this.#sum += value;
		this.#count++;
	}

	get value(): number | null {
		return ratio(this.#sum, this.#count);
	}
}

function ratio(numerator: number | null, denominator: number | null): number | null {
	return numerator === null || !denominator ? null : numerator / denominator;
}

function complement(share: number | null): number | null {
	return share === null ? null : 1 - share;
}
