/** How well rows answer a query. */
import type { Codes } from "../sae.ts";

/** Activations of latents, or weights of them. */
export type Latents = ReadonlyMap<number, number>;

/** Σ weight · activation of each row; NaN for rows in which none of the latents is active. */
export function weightedActivations(codes: Codes, weights: Latents): Float64Array {
	return Float64Array.from({ length: codes.rows }, (_, row) => {
		let sum = Number.NaN;
		for (let entry = codes.offsets[row]!; entry < codes.offsets[row + 1]!; entry++) {
			const weight = weights.get(codes.index[entry]!);
			const value = codes.value[entry]!;
			if (weight !== undefined && value !== 0) sum = (Number.isNaN(sum) ? 0 : sum) + weight * value;
		}
		return sum;
	});
}

/** Cosine of each row's codes with `query`; 0 where either is zero. */
export function codeCosines(codes: Codes, query: Latents): Float64Array {
	const norm = Math.hypot(...query.values());
	return Float64Array.from({ length: codes.rows }, (_, row) => {
		let [product, square] = [0, 0];
		for (let entry = codes.offsets[row]!; entry < codes.offsets[row + 1]!; entry++) {
			const value = codes.value[entry]!;
			product += value * (query.get(codes.index[entry]!) ?? 0);
			square += value * value;
		}
		return quotient(product, norm * Math.sqrt(square));
	});
}

/** Cosine of each row of `vectors` [rows, width] with `query`; 0 where either is zero. */
export function cosines(vectors: Float32Array, query: Float32Array): Float64Array {
	const width = query.length;
	const norm = Math.sqrt(query.reduce((sum, value) => sum + value * value, 0));
	return Float64Array.from({ length: vectors.length / width }, (_, row) => {
		let [product, square] = [0, 0];
		for (let i = 0; i < width; i++) {
			const value = vectors[row * width + i]!;
			product += value * query[i]!;
			square += value * value;
		}
		return quotient(product, norm * Math.sqrt(square));
	});
}

function quotient(product: number, norms: number): number {
	return norms === 0 ? 0 : product / norms;
}
