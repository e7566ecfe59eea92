/** Budgets of codes that fall with rank, as Zipf and Mandelbrot found words to: p(rank) ∝ (rank + shift)^−exponent. */

export interface Zipf {
	/** How steeply shares fall; 0: all are the same. */
	readonly exponent: number;
	readonly shift: number;
}

/** Steepest law that is fitted. */
const MOST = 4;
const HALVINGS = 20;

/**
 * Codes per row for `count` latents, the most frequent first: as the law has it, at most one per row each, `total` in
 * all.
 * @param total At most `count`.
 */
export function zipfShares(count: number, total: number, law: Zipf): Float64Array {
	const weights = weightsOf(count, law);
	// Sums of each weight and all behind it, from the smallest on.
	const behind = new Float64Array(count + 1);
	for (let rank = count - 1; rank >= 0; rank--) behind[rank] = behind[rank + 1]! + weights[rank]!;
	// What a share over 1 can't use goes to all behind it.
	const scale = (rank: number) => (total - rank) / behind[rank]!;
	let full = 0;
	while (full < count && weights[full]! * scale(full) > 1) full++;
	const rest = full < count ? scale(full) : 0;
	return weights.map((weight, rank) => (rank < full ? 1 : weight * rest));
}

/**
 * The exponent that makes such densities most likely, by maximum likelihood of the codes' ranks: the one whose mean
 * log rank is theirs. 0 where they don't fall.
 * @param density From the most frequent latent to the least.
 */
export function fitExponent(density: ArrayLike<number>, shift: number): number {
	const count = density.length;
	const wanted = meanLogRank(density, shift);
	let low = 0;
	let high = MOST;
	for (let i = 0; i < HALVINGS; i++) {
		const exponent = (low + high) / 2;
		// A steeper law has more of its codes in the first ranks.
		if (meanLogRank(weightsOf(count, { exponent, shift }), shift) > wanted) low = exponent;
		else high = exponent;
	}
	return low;
}

/** Latents by falling density, equal ones by their number. */
export function ranking(density: Float32Array): Uint32Array {
	return Uint32Array.from(density.keys()).sort((a, b) => density[b]! - density[a]! || a - b);
}

/** Values by rank, given to the latents that have the ranks. */
export function byLatent(values: ArrayLike<number>, latents: Uint32Array): Float32Array {
	const own = new Float32Array(latents.length);
	for (const [rank, latent] of latents.entries()) own[latent] = values[rank]!;
	return own;
}

function weightsOf(count: number, { exponent, shift }: Zipf): Float64Array {
	return Float64Array.from({ length: count }, (_, i) => (i + 1 + shift) ** -exponent);
}

function meanLogRank(weights: ArrayLike<number>, shift: number): number {
	let sum = 0;
	let weighed = 0;
	for (let i = 0; i < weights.length; i++) {
		sum += weights[i]!;
		weighed += weights[i]! * Math.log(i + 1 + shift);
	}
	return weighed / sum;
}
