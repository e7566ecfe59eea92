/** Which features are active in a row. */
import type { Core } from "saeflow";

type Rng = InstanceType<Core["CounterRng"]>;

/** `count`: exactly so many in each row. `probability`: each feature on its own. */
export type Support = ({ readonly count: number } | { readonly probability: number }) & {
	/**
	 * Gaussian copula: feature i is on where g_i = √(1 − ρ)·ε_i + √ρ·(F z)_i is among the largest, or above the
	 * quantile of its probability. ε and z are standard normal, the rows of F [features, RANK] unit vectors.
	 */
	readonly correlation: number;
};

/** Writes the active features of a row to `out` and returns how many there are. */
export type SupportSampler = (row: number, out: Uint32Array) => number;

/** Rank of the correlated part: how many common causes there are. */
const RANK = 16;

export function supportSampler(
	support: Support,
	features: number,
	rng: Rng,
	loadings: (rank: number) => Float32Array,
): SupportSampler {
	if (support.correlation > 0) return correlated(support, features, rng, loadings(RANK));
	return "count" in support
		? exactly(support.count, features, rng)
		: independently(support.probability, features, rng);
}

/** A uniform subset of `count` features (Floyd's algorithm). */
function exactly(count: number, features: number, rng: Rng): SupportSampler {
	// The last draw that took each feature: a set that need not be cleared.
	const takenBy = new Float64Array(features);
	let draw = 0;
	return (row, out) => {
		draw++;
		for (let i = 0; i < count; i++) {
			const limit = features - count + i;
			const drawn = Math.floor(rng.uniform(row * count + i) * (limit + 1));
			const feature = takenBy[drawn] === draw ? limit : drawn;
			takenBy[feature] = draw;
			out[i] = feature;
		}
		return count;
	};
}

/** Each feature with the same probability; the gaps between active ones are geometric. */
function independently(probability: number, features: number, rng: Rng): SupportSampler {
	const scale = 1 / Math.log1p(-probability);
	return (row, out) => {
		let n = 0;
		for (let feature = -1; ; ) {
			const u = 1 - rng.uniform(row * (features + 1) + n);
			feature += 1 + Math.floor(Math.log(u) * scale);
			if (!(feature < features)) return n;
			out[n++] = feature;
		}
	};
}

function correlated(support: Support, features: number, rng: Rng, loadings: Float32Array): SupportSampler {
	const own = Math.sqrt(1 - support.correlation);
	const common = Math.sqrt(support.correlation);
	const g = new Float64Array(features);
	const z = new Float64Array(RANK);
	return (row, out) => {
		const first = row * (features + RANK);
		for (let k = 0; k < RANK; k++) z[k] = rng.normal(first + features + k);
		for (let i = 0; i < features; i++) {
			let shared = 0;
			for (let k = 0; k < RANK; k++) shared += loadings[i * RANK + k]! * z[k]!;
			g[i] = own * rng.normal(first + i) + common * shared;
		}
		const threshold =
			"count" in support ? g.toSorted()[features - support.count]! : normalQuantile(1 - support.probability);
		let n = 0;
		for (let i = 0; i < features; i++) if (g[i]! >= threshold) out[n++] = i;
		return n;
	};
}

/** The inverse of the standard normal distribution function (Acklam's rational approximation, error below 1.2e-9). */
function normalQuantile(p: number): number {
	if (p <= 0) return Number.NEGATIVE_INFINITY;
	if (p >= 1) return Number.POSITIVE_INFINITY;
	const tail = 0.02425;
	if (p > 1 - tail) return -normalQuantile(1 - p);
	const A = [
		-39.69683028665376, 220.9460984245205, -275.9285104469687, 138.357751867269, -30.66479806614716,
		2.506628277459239,
	];
	const B = [
		-54.47609879822406, 161.5858368580409, -155.6989798598866, 66.80131188771972, -13.28068155288572, 1,
	];
	const C = [
		-0.007784894002430293, -0.3223964580411365, -2.400758277161838, -2.549732539343734, 4.374664141464968,
		2.938163982698783,
	];
	const D = [0.007784695709041462, 0.3224671290700398, 2.445134137142996, 3.754408661907416, 1];
	const polynomial = (coefficients: readonly number[], x: number) =>
		coefficients.reduce((sum, coefficient) => sum * x + coefficient, 0);
	if (p < tail) {
		const q = Math.sqrt(-2 * Math.log(p));
		return polynomial(C, q) / polynomial(D, q);
	}
	const q = p - 0.5;
	return (q * polynomial(A, q * q)) / polynomial(B, q * q);
}
