/** Nonlinear least squares for a handful of parameters. */

/** Residuals at a point, and for each of them its derivatives by the parameters. */
export interface Residuals {
	readonly values: readonly number[];
	readonly jacobian: readonly (readonly number[])[];
}

const MOST_STEPS = 500;
const LEAST_DAMPING = 1e-15;
const MOST_DAMPING = 1e15;
/** Relative change of the sum of squares below which a step counts as none. */
const STILL = 1e-15;

/**
 * Parameters near `start` that make Σ residual² least, by Levenberg's and Marquardt's method: Gauss-Newton steps,
 * damped in proportion to the curvature until they make the sum smaller (Marquardt 1963).
 */
export function leastSquares(residualsAt: (parameters: number[]) => Residuals, start: number[]): number[] {
	let parameters = start;
	let here = residualsAt(parameters);
	let sum = sumOfSquares(here.values);
	let damping = 1e-3;
	for (let step = 0; step < MOST_STEPS && damping <= MOST_DAMPING; step++) {
		const { matrix, gradient } = normalEquations(here);
		const damped = damp(matrix, damping);
		const change = solve(damped, gradient);
		const tried = change && parameters.map((value, i) => value - change[i]!);
		const there = tried && residualsAt(tried);
		const triedSum = there ? sumOfSquares(there.values) : Number.NaN;
		if (!(triedSum <= sum)) {
			damping *= 4;
			continue;
		}
		const gain = sum - triedSum;
		[parameters, here, sum] = [tried!, there!, triedSum];
		damping = Math.max(damping / 8, LEAST_DAMPING);
		if (gain <= STILL * sum) break;
	}
	return parameters;
}

/** Share of the largest curvature that a direction without any is taken to have. */
const FLAT = 1e-12;

function damp(matrix: readonly (readonly number[])[], damping: number): number[][] {
	const flat = FLAT * Math.max(...matrix.map((row, i) => row[i]!));
	return matrix.map((row, i) => row.map((value, j) => (i === j ? value + damping * (value + flat) : value)));
}

/** Coefficients c that make Σ (rows_i · c − values_i)² least; undefined where the rows do not determine them. */
export function linearLeastSquares(
	rows: readonly (readonly number[])[],
	values: readonly number[],
): number[] | undefined {
	const { matrix, gradient } = normalEquations({ values, jacobian: rows });
	return solve(matrix, gradient);
}

/**
 * Standard errors of fitted parameters, from the curvature and the size of the residuals. Undefined without more
 * residuals than parameters, or where they do not determine the parameters.
 */
export function standardErrors(fit: Residuals): number[] | undefined {
	const { matrix } = normalEquations(fit);
	const freedom = fit.values.length - matrix.length;
	if (freedom < 1) return undefined;
	const variance = sumOfSquares(fit.values) / freedom;
	const errors = matrix.map((row, i) => {
		const column = solve(
			matrix,
			row.map((_, j) => (i === j ? 1 : 0)),
		);
		return column ? Math.sqrt(variance * column[i]!) : Number.NaN;
	});
	return errors.every(Number.isFinite) ? errors : undefined;
}

export function sumOfSquares(values: readonly number[]): number {
	return values.reduce((sum, value) => sum + value * value, 0);
}

/** JᵀJ and Jᵀr. */
function normalEquations({ values, jacobian }: Residuals): { matrix: number[][]; gradient: number[] } {
	const size = jacobian[0]?.length ?? 0;
	const matrix = Array.from({ length: size }, () => new Array<number>(size).fill(0));
	const gradient = new Array<number>(size).fill(0);
	for (const [row, derivatives] of jacobian.entries()) {
		for (let i = 0; i < size; i++) {
			gradient[i]! += derivatives[i]! * values[row]!;
			for (let j = 0; j < size; j++) matrix[i]![j]! += derivatives[i]! * derivatives[j]!;
		}
	}
	return { matrix, gradient };
}

/** Below this share of a row's own curvature, the others have explained all of it. */
const SINGULAR = 1e-14;

/** x of A x = b for a symmetric positive definite A, by Cholesky's method; undefined when A is singular. */
function solve(matrix: readonly (readonly number[])[], right: readonly number[]): number[] | undefined {
	const size = right.length;
	const lower = matrix.map((row) => [...row]);
	for (let i = 0; i < size; i++) {
		for (let j = 0; j <= i; j++) {
			let value = matrix[i]![j]!;
			for (let m = 0; m < j; m++) value -= lower[i]![m]! * lower[j]![m]!;
			if (i !== j) lower[i]![j] = value / lower[j]![j]!;
			else if (value > SINGULAR * matrix[i]![i]!) lower[i]![i] = Math.sqrt(value);
			else return undefined;
		}
	}
	const x = [...right];
	for (let i = 0; i < size; i++) {
		for (let m = 0; m < i; m++) x[i]! -= lower[i]![m]! * x[m]!;
		x[i]! /= lower[i]![i]!;
	}
	for (let i = size - 1; i >= 0; i--) {
		for (let m = i + 1; m < size; m++) x[i]! -= lower[m]![i]! * x[m]!;
		x[i]! /= lower[i]![i]!;
	}
	return x;
}
