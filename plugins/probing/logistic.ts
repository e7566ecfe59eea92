/** Logistic regression with an L2 penalty, in float64, by L-BFGS (Liu & Nocedal 1989): the same result every time. */

/** Examples as a regression needs them; rows may be sparse. */
export interface Design {
	readonly rows: number;
	readonly width: number;
	/** Row · weights. */
	dot(row: number, weights: Float64Array): number;
	/** into += scale · row. */
	add(row: number, scale: number, into: Float64Array): void;
}

export interface Probe {
	readonly weights: Float64Array;
	readonly bias: number;
	readonly converged: boolean;
}

export interface Regression {
	/** Weight of the data against the penalty ½ ‖w‖², which spares the bias (scikit-learn's C). */
	readonly c?: number;
	/** Weight of the examples with label 1, where those with 0 weigh 1. */
	readonly positive?: number;
}

const MOST_STEPS = 1000;
const MEMORY = 10;
/** Largest entry of the gradient, per example, at which the search ends. */
const STILL = 1e-6;

/** Weights and bias that make ½ ‖w‖² + c · Σ −log p(label) least. */
export function logisticRegression(
	design: Design,
	labels: ArrayLike<number>,
	{ c = 1, positive = 1 }: Regression = {},
): Probe {
	const { rows, width } = design;
	/** The last entry is the bias. */
	const lossAt = (at: Float64Array, gradient: Float64Array): number => {
		gradient.set(at);
		gradient[width] = 0;
		let loss = 0.5 * dot(gradient, gradient);
		for (let row = 0; row < rows; row++) {
			const margin = (design.dot(row, at) + at[width]!) * (labels[row] ? 1 : -1);
			const weight = c * (labels[row] ? positive : 1);
			loss += weight * softplus(-margin);
			const slope = (labels[row] ? -weight : weight) * sigmoid(-margin);
			design.add(row, slope, gradient);
			gradient[width]! += slope;
		}
		return loss;
	};
	const { at, converged } = minimise(lossAt, width + 1, STILL * c * rows);
	return { weights: at.slice(0, width), bias: at[width]!, converged };
}

/** Share of the rows on whose side of zero their label is. */
export function accuracy(design: Design, labels: ArrayLike<number>, { weights, bias }: Probe): number {
	let right = 0;
	for (let row = 0; row < design.rows; row++) {
		if (design.dot(row, weights) + bias > 0 === Boolean(labels[row])) right++;
	}
	return right / design.rows;
}

type Objective = (at: Float64Array, gradient: Float64Array) => number;

function minimise(lossAt: Objective, size: number, still: number) {
	let at = new Float64Array(size);
	let gradient = new Float64Array(size);
	let loss = lossAt(at, gradient);
	const steps: { readonly moved: Float64Array; readonly turned: Float64Array; readonly product: number }[] =
		[];
	for (let step = 0; step < MOST_STEPS; step++) {
		if (gradient.every((value) => Math.abs(value) <= still)) return { at, converged: true };
		const direction = downhill(gradient, steps);
		const slope = dot(direction, gradient);
		// Without curvature known, the first step is no longer than 1.
		let length = steps.length === 0 ? Math.min(1, 1 / Math.sqrt(dot(gradient, gradient))) : 1;
		const there = new Float64Array(size);
		const next = new Float64Array(size);
		let found = Number.POSITIVE_INFINITY;
		for (; length > 1e-20; length /= 2) {
			for (let i = 0; i < size; i++) there[i] = at[i]! + length * direction[i]!;
			found = lossAt(there, next);
			if (found <= loss + 1e-4 * length * slope) break;
		}
		// Rounding hides whatever could still be gained.
		if (!(found < loss)) return { at, converged: false };
		const moved = there.map((value, i) => value - at[i]!);
		const turned = next.map((value, i) => value - gradient[i]!);
		const product = dot(moved, turned);
		if (product > 0) steps.push({ moved, turned, product });
		if (steps.length > MEMORY) steps.shift();
		[at, gradient, loss] = [there, next, found];
	}
	return { at, converged: false };
}

/** −H · gradient, with the inverse curvature H that the last steps have shown. */
function downhill(
	gradient: Float64Array,
	steps: readonly { readonly moved: Float64Array; readonly turned: Float64Array; readonly product: number }[],
): Float64Array {
	const direction = gradient.map((value) => -value);
	const shares = steps.map(() => 0);
	for (let s = steps.length - 1; s >= 0; s--) {
		const { moved, turned, product } = steps[s]!;
		shares[s] = dot(moved, direction) / product;
		addScaled(direction, turned, -shares[s]!);
	}
	const last = steps.at(-1);
	const scale = last ? last.product / dot(last.turned, last.turned) : 1;
	for (let i = 0; i < direction.length; i++) direction[i]! *= scale;
	for (const [s, { moved, turned, product }] of steps.entries()) {
		addScaled(direction, moved, shares[s]! - dot(turned, direction) / product);
	}
	return direction;
}

function addScaled(into: Float64Array, values: Float64Array, scale: number): void {
	for (let i = 0; i < into.length; i++) into[i]! += scale * values[i]!;
}

function dot(a: Float64Array, b: Float64Array): number {
	let sum = 0;
	for (let i = 0; i < a.length; i++) sum += a[i]! * b[i]!;
	return sum;
}

function softplus(x: number): number {
	return Math.max(x, 0) + Math.log1p(Math.exp(-Math.abs(x)));
}

function sigmoid(x: number): number {
	return x >= 0 ? 1 / (1 + Math.exp(-x)) : Math.exp(x) / (1 + Math.exp(x));
}
