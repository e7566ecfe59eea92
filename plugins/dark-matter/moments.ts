/** Sums that a linear regression of several targets needs, in float64: memory does not grow with rows. */

export interface Fit {
	/** Row-major [inputs + 1, targets]; the last row is the intercept. */
	readonly weights: Float64Array;
}

/** Relative to the mean square of the inputs; keeps directions without data from being fitted. */
const RIDGE = 1e-9;

/** Second moments of rows (x, 1) with themselves and with targets y, and of the targets by themselves. */
export class Moments {
	readonly inputs: number;
	readonly targets: number;
	rows = 0;
	/** [inputs + 1, inputs + 1], the lower triangle. */
	readonly #xx: Float64Array[];
	/** [inputs + 1][targets]. */
	readonly #xy: Float64Array[];
	readonly #yy: Float64Array;
	readonly #row: Float64Array;

	constructor(inputs: number, targets: number) {
		this.inputs = inputs;
		this.targets = targets;
		this.#xx = Array.from({ length: inputs + 1 }, (_, i) => new Float64Array(i + 1));
		this.#xy = Array.from({ length: inputs + 1 }, () => new Float64Array(targets));
		this.#yy = new Float64Array(targets);
		this.#row = new Float64Array(inputs + 1);
	}

	/** One row: `x` [inputs], `y` [targets]. */
	add(x: ArrayLike<number>, y: ArrayLike<number>): void {
		this.rows++;
		const row = this.#row;
		for (let i = 0; i < this.inputs; i++) row[i] = x[i]!;
		row[this.inputs] = 1;
		for (let i = 0; i <= this.inputs; i++) {
			const [value, xx, xy] = [row[i]!, this.#xx[i]!, this.#xy[i]!];
			if (value === 0) continue;
			for (let j = 0; j <= i; j++) xx[j]! += value * row[j]!;
			for (let t = 0; t < this.targets; t++) xy[t]! += value * y[t]!;
		}
		for (let t = 0; t < this.targets; t++) this.#yy[t]! += y[t]! ** 2;
	}

	/** Least squares by Cholesky's method, with a ridge of 1e-9 of the inputs' mean square. */
	fit(): Fit {
		const size = this.inputs + 1;
		const lower = this.#xx.map((row) => row.slice());
		const scale = lower.reduce((sum, row, i) => sum + row[i]!, 0) / size;
		for (let i = 0; i < size; i++) {
			lower[i]![i]! += RIDGE * scale + Number.MIN_VALUE;
			for (let j = 0; j <= i; j++) {
				const [a, b] = [lower[i]!, lower[j]!];
				let value = a[j]!;
				for (let m = 0; m < j; m++) value -= a[m]! * b[m]!;
				a[j] = i === j ? Math.sqrt(Math.max(value, Number.MIN_VALUE)) : value / b[j]!;
			}
		}
		const solved = this.#xy.map((row) => row.slice());
		const reduce = (i: number, from: number, share: number) => {
			for (let t = 0; t < this.targets; t++) solved[i]![t]! -= share * solved[from]![t]!;
		};
		const divide = (i: number) => {
			for (let t = 0; t < this.targets; t++) solved[i]![t]! /= lower[i]![i]!;
		};
		for (let i = 0; i < size; i++) {
			for (let m = 0; m < i; m++) reduce(i, m, lower[i]![m]!);
			divide(i);
		}
		for (let i = size - 1; i >= 0; i--) {
			for (let m = i + 1; m < size; m++) reduce(i, m, lower[m]![i]!);
			divide(i);
		}
		const weights = new Float64Array(size * this.targets);
		for (const [i, row] of solved.entries()) weights.set(row, i * this.targets);
		return { weights };
	}

	/** Of each target over these rows: Σ y². */
	squares(): Float64Array {
		return this.#yy;
	}

	/** Of each target over these rows: Σ (y − fit)², and Σ (y − mean)². */
	residuals({ weights }: Fit): { readonly left: Float64Array; readonly total: Float64Array } {
		const left = this.#yy.slice();
		for (let i = 0; i <= this.inputs; i++) {
			for (let t = 0; t < this.targets; t++)
				left[t]! -= 2 * weights[i * this.targets + t]! * this.#xy[i]![t]!;
			for (let j = 0; j <= i; j++) {
				const product = this.#xx[i]![j]! * (i === j ? 1 : 2);
				for (let t = 0; t < this.targets; t++) {
					left[t]! += product * weights[i * this.targets + t]! * weights[j * this.targets + t]!;
				}
			}
		}
		const sums = this.#xy[this.inputs]!;
		return { left, total: this.#yy.map((value, t) => value - sums[t]! ** 2 / this.rows) };
	}
}
