/** Logistic regression with an L1 penalty, which gives most columns no weight at all. */
import type { Design } from "./logistic.ts";

export interface L1Regression {
	/** Weight of Σ |w| against the mean over examples of their loss. */
	readonly penalty: number;
	/** Weight of the examples with label 1, where those with 0 weigh 1. */
	readonly positive: number;
}

export interface L1Probe {
	readonly weights: Float64Array;
	readonly bias: number;
	/** What was made least. */
	readonly loss: number;
}

const MOST_STEPS = 1000;
/** Change of a weight, relative to the largest, at which the search ends. */
const STILL = 1e-5;

/**
 * Weights and bias that make mean(weight · −log p(label)) + penalty · Σ |w| least, by FISTA (Beck & Teboulle 2009) with
 * restarts where the last step leads uphill (O'Donoghue & Candès 2015).
 */
export function l1Regression(
	design: Design,
	labels: ArrayLike<number>,
	{ penalty, positive }: L1Regression,
): L1Probe {
	const { rows, width } = design;
	const margins = new Float64Array(rows);
	/** Of the mean over examples; the last entry of `at` is the bias. */
	const smoothLoss = (at: Float64Array): number => {
		let loss = 0;
		for (let row = 0; row < rows; row++) {
			const margin = (design.dot(row, at) + at[width]!) * (labels[row] ? 1 : -1);
			margins[row] = margin;
			loss += (labels[row] ? positive : 1) * softplus(-margin);
		}
		return loss / rows;
	};
	/** At the margins of the last loss. */
	const slope = (): Float64Array => {
		const gradient = new Float64Array(width + 1);
		for (let row = 0; row < rows; row++) {
			const weight = (labels[row] ? -positive : 1) / (rows * (1 + Math.exp(margins[row]!)));
			design.add(row, weight, gradient);
			gradient[width]! += weight;
		}
		return gradient;
	};

	let at = new Float64Array(width + 1);
	let ahead = at;
	let pace = 1;
	let step = 1;
	for (let count = 0; count < MOST_STEPS; count++) {
		const loss = smoothLoss(ahead);
		const gradient = slope();
		let next = at;
		for (; ; step /= 2) {
			next = ahead.map((value, i) => {
				const moved = value - step * gradient[i]!;
				return i === width ? moved : Math.sign(moved) * Math.max(0, Math.abs(moved) - step * penalty);
			});
			// As long as the step is no longer than the curvature allows.
			let [along, square] = [0, 0];
			for (let i = 0; i <= width; i++) {
				const change = next[i]! - ahead[i]!;
				along += gradient[i]! * change;
				square += change * change;
			}
			if (smoothLoss(next) <= loss + along + square / (2 * step) + 1e-15) break;
		}
		let [turn, change, size] = [0, 0, 0];
		for (let i = 0; i <= width; i++) {
			turn += (ahead[i]! - next[i]!) * (next[i]! - at[i]!);
			change = Math.max(change, Math.abs(next[i]! - at[i]!));
			size = Math.max(size, Math.abs(next[i]!));
		}
		const before = at;
		at = next;
		if (change <= STILL * Math.max(1e-3, size)) break;
		const faster = turn > 0 ? 1 : (1 + Math.sqrt(1 + 4 * pace * pace)) / 2;
		const momentum = turn > 0 ? 0 : (pace - 1) / faster;
		ahead = at.map((value, i) => value + momentum * (value - before[i]!));
		pace = faster;
		// Curvature may be less further on.
		step *= 1.25;
	}
	const weights = at.slice(0, width);
	const loss = smoothLoss(at) + penalty * weights.reduce((sum, weight) => sum + Math.abs(weight), 0);
	return { weights, bias: at[width]!, loss };
}

function softplus(x: number): number {
	return Math.max(x, 0) + Math.log1p(Math.exp(-Math.abs(x)));
}
