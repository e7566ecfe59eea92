/**
 * How the loss of an SAE falls with its latents n and its active latents k, as in "Scaling and evaluating sparse
 * autoencoders" (Gao et al. 2024): a power law above an irreducible part,
 *
 *   L(n)    = exp(alpha + beta_n ln n) + exp(zeta)
 *   L(n, k) = exp(alpha + beta_k ln k + beta_n ln n + gamma ln k ln n) + exp(zeta + eta ln k)
 *
 * fitted by least squares on ln L, so that an error of a tenth counts alike at every loss.
 */
import { SaeError } from "../errors.ts";
import {
	leastSquares,
	linearLeastSquares,
	type Residuals,
	standardErrors,
	sumOfSquares,
} from "./least-squares.ts";

/** One SAE, or the best of several: latents, active latents per row, and the loss, e.g. FVU. All are positive. */
export interface ScalingPoint {
	readonly n: number;
	readonly k: number;
	readonly loss: number;
}

/** Which law; `n` is for points of one k. */
export type LawName = "n" | "n, k";

export interface ScalingLaw {
	readonly law: LawName;
	readonly parameters: readonly LawParameter[];
	/** The points in their order, with what the law says of them; `residual` is ln loss − ln fitted. */
	readonly points: readonly (ScalingPoint & { readonly fitted: number; readonly residual: number })[];
	/** Share of the variance of ln L that the law explains. */
	readonly r2: number;
	/** Root mean square of the residuals. */
	readonly rms: number;
	/** The loss at other sizes. */
	predict(n: number, k: number): number;
}

export interface LawParameter {
	readonly name: string;
	/** Null for the irreducible part when the points show none. */
	readonly value: number | null;
	/** Standard error; null where the points do not determine it. */
	readonly error: number | null;
}

/** A law as two exponents that are linear in their parameters: names, and what each parameter is multiplied by. */
interface Form {
	readonly law: LawName;
	readonly power: Exponent;
	readonly irreducible: Exponent;
}

interface Exponent {
	readonly names: readonly string[];
	terms(lnN: number, lnK: number): readonly number[];
}

const FORMS: Readonly<Record<LawName, Form>> = {
	n: {
		law: "n",
		power: { names: ["alpha", "beta_n"], terms: (n) => [1, n] },
		irreducible: { names: ["zeta"], terms: () => [1] },
	},
	"n, k": {
		law: "n, k",
		power: { names: ["alpha", "beta_k", "beta_n", "gamma"], terms: (n, k) => [1, k, n, k * n] },
		irreducible: { names: ["zeta", "eta"], terms: (_, k) => [1, k] },
	},
};

/** What a fit needs: one point more than parameters, and enough sizes to tell a power law from a constant. */
const NEEDS: Readonly<Record<LawName, { readonly points: number; readonly n: number; readonly k: number }>> =
	{
		n: { points: 4, n: 4, k: 1 },
		"n, k": { points: 7, n: 3, k: 2 },
	};

/** What the points lack for a fit of this law, in words; undefined when they suffice. */
function lacking(law: LawName, points: readonly ScalingPoint[]): string | undefined {
	const need = NEEDS[law];
	const have = { points: points.length, n: distinct(points, "n"), k: distinct(points, "k") };
	if (have.points >= need.points && have.n >= need.n && have.k >= need.k) return undefined;
	const sparsities = need.k > 1 ? ` and ${need.k} sparsities` : "";
	const found = need.k > 1 ? ` and ${count(have.k, "sparsity", "sparsities")}` : "";
	return (
		`L(${law}) needs at least ${need.points} points of ${need.n} sizes${sparsities}; ` +
		`there are ${count(have.points, "point")} of ${count(have.n, "size")}${found}`
	);
}

/** Relative gain in squared residuals that is none, and the size of residuals that only rounding makes. */
const NO_GAIN = 1e-6;
const ROUNDING = 1e-6;

/** @throws SaeError for points that are too few (it says how many are needed) or do not determine the law. */
export function fitScalingLaw(law: LawName, points: readonly ScalingPoint[]): ScalingLaw {
	const lack = lacking(law, points);
	if (lack) throw new SaeError(lack);
	if (!points.every(({ n, k, loss }) => [n, k, loss].every((value) => value > 0 && Number.isFinite(value)))) {
		throw new SaeError("sizes, sparsities and losses must be positive numbers");
	}
	const form = FORMS[law];
	const scaled = standardised(form, points);
	const [best] = starts(scaled)
		.map((start) => leastSquares((parameters) => residuals(scaled, parameters), start))
		.sort((a, b) => cost(scaled, a) - cost(scaled, b));
	const plain = withoutIrreducible(scaled);
	if (!best || !plain) {
		throw new SaeError(`the points do not determine L(${law}): do sizes and sparsities change together?`);
	}
	// A part that is not there would be a parameter on its way to minus infinity.
	const least = cost(scaled, best);
	const gain = cost({ ...scaled, second: [] }, plain) - least;
	const isPlain = gain <= NO_GAIN * (least + points.length * ROUNDING ** 2);
	return describe(form, points, isPlain ? plain : best, scaled.restore);
}

/** The problem in coordinates of mean 0 and deviation 1, where it is well conditioned. */
interface Problem {
	/** Terms of the two exponents, a row for each point; without any second one there is only the power law. */
	readonly first: readonly (readonly number[])[];
	readonly second: readonly (readonly number[])[];
	readonly logLoss: readonly number[];
}

/** ln(model) − ln L and its derivatives. */
function residuals({ first, second, logLoss }: Problem, parameters: readonly number[]): Residuals {
	const values: number[] = [];
	const jacobian: number[][] = [];
	for (const [i, terms] of first.entries()) {
		const others = second[i] ?? [];
		const a = dot(terms, parameters);
		const b = second.length === 0 ? Number.NEGATIVE_INFINITY : dot(others, parameters.slice(terms.length));
		const top = Math.max(a, b);
		const log = top + Math.log(Math.exp(a - top) + Math.exp(b - top));
		const share = Math.exp(a - log);
		values.push(log - logLoss[i]!);
		jacobian.push([...terms.map((term) => share * term), ...others.map((term) => (1 - share) * term)]);
	}
	return { values, jacobian };
}

function cost(problem: Problem, parameters: readonly number[]): number {
	return sumOfSquares(residuals(problem, parameters).values);
}

/** Shares of the lowest loss that the irreducible part may begin with, and how steeply it may go with ln k. */
const SHARES = [0.02, 0.2, 0.5, 0.8, 0.9, 0.95, 0.99];
const SLOPES = [-1, -0.5, -0.2, -0.05, 0, 0.05, 0.2, 0.5];

/** With the irreducible part guessed, the rest is linear; many guesses, for the sum has more than one valley. */
function starts(problem: Problem): number[][] {
	const { first, second, logLoss } = problem;
	const slopes = second[0]!.length > 1 ? SLOPES : [0];
	return slopes.flatMap((slope) => {
		const room = Math.min(...logLoss.map((log, i) => log - slope * (second[i]![1] ?? 0)));
		return SHARES.flatMap((share) => {
			const guess = slopes.length > 1 ? [room + Math.log(share), slope] : [room + Math.log(share)];
			const rest = logLoss.map((log, i) => Math.log(Math.exp(log) - Math.exp(dot(second[i]!, guess))));
			const linear = linearLeastSquares(first, rest);
			return linear ? [[...linear, ...guess]] : [];
		});
	});
}

function withoutIrreducible({ first, logLoss }: Problem): number[] | undefined {
	return linearLeastSquares(first, logLoss);
}

/** The problem about the means of ln n and ln k, and the way back to parameters of ln n and ln k themselves. */
function standardised(
	{ power, irreducible }: Form,
	points: readonly ScalingPoint[],
): Problem & { restore(parameters: readonly number[]): number[] } {
	const n = scaleOf(points.map((point) => Math.log(point.n)));
	const k = scaleOf(points.map((point) => Math.log(point.k)));
	const rows = (exponent: Exponent) =>
		points.map((point) => exponent.terms(n.scaled(Math.log(point.n)), k.scaled(Math.log(point.k))));
	// An exponent is a polynomial; its coefficients in ln n and ln k follow from its values at four places.
	const corners = [0, 1].flatMap((x) => [0, 1].map((y) => [x, y] as const));
	const restored = (exponent: Exponent, parameters: readonly number[]) =>
		linearLeastSquares(
			corners.map(([x, y]) => exponent.terms(x, y)),
			corners.map(([x, y]) => dot(exponent.terms(n.scaled(x), k.scaled(y)), parameters)),
		)!;
	return {
		first: rows(power),
		second: rows(irreducible),
		logLoss: points.map(({ loss }) => Math.log(loss)),
		restore(parameters) {
			const size = power.names.length;
			const rest = parameters.slice(size);
			return [
				...restored(power, parameters.slice(0, size)),
				...(rest.length > 0 ? restored(irreducible, rest) : []),
			];
		},
	};
}

function scaleOf(values: readonly number[]): { scaled(value: number): number } {
	const mean = values.reduce((sum, value) => sum + value, 0) / values.length;
	const deviation = Math.sqrt(sumOfSquares(values.map((value) => value - mean)) / values.length) || 1;
	return { scaled: (value) => (value - mean) / deviation };
}

function describe(
	form: Form,
	points: readonly ScalingPoint[],
	fitted: readonly number[],
	restore: (parameters: readonly number[]) => number[],
): ScalingLaw {
	const { law, power, irreducible } = form;
	const values = restore(fitted);
	const size = power.names.length;
	const hasFloor = values.length > size;
	const terms = (exponent: Exponent) => points.map(({ n, k }) => exponent.terms(Math.log(n), Math.log(k)));
	const logLoss = points.map(({ loss }) => Math.log(loss));
	const fit = residuals({ first: terms(power), second: hasFloor ? terms(irreducible) : [], logLoss }, values);
	const errors = standardErrors(fit);
	const mean = logLoss.reduce((sum, log) => sum + log, 0) / logLoss.length;
	const rest = sumOfSquares(fit.values);
	const predict = (n: number, k: number) => {
		const at = (exponent: Exponent, from: number) =>
			Math.exp(dot(exponent.terms(Math.log(n), Math.log(k)), values.slice(from)));
		return at(power, 0) + (hasFloor ? at(irreducible, size) : 0);
	};
	return {
		law,
		parameters: [...power.names, ...irreducible.names].map((name, i) => ({
			name,
			value: values[i] ?? null,
			error: errors?.[i] ?? null,
		})),
		points: points.map((point, i) => ({
			...point,
			fitted: predict(point.n, point.k),
			residual: -fit.values[i]!,
		})),
		r2: 1 - rest / sumOfSquares(logLoss.map((log) => log - mean)),
		rms: Math.sqrt(rest / points.length),
		predict,
	};
}

function dot(a: readonly number[], b: readonly number[]): number {
	return a.reduce((sum, value, i) => sum + value * b[i]!, 0);
}

function distinct(points: readonly ScalingPoint[], key: "n" | "k"): number {
	return new Set(points.map((point) => point[key])).size;
}

function count(number: number, one: string, many = `${one}s`): string {
	return `${number} ${number === 1 ? one : many}`;
}
