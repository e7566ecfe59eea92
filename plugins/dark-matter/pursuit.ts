/** Codes found by searching a dictionary, instead of by an encoder (Blumensath & Davies 2008, "Gradient pursuits"). */
import { dot } from "../recovery/cosines.ts";

/**
 * Σ (target − Σ codes · rows)² with at most `steps` non-negative codes. Each step admits the row with the largest product
 * with what is left, and moves the codes admitted so far along their gradient, as far as reduces the error most.
 */
export function pursue(target: Float64Array, dictionary: readonly Float64Array[], steps: number): number {
	const rest = target.slice();
	const codes = new Map<number, number>();
	for (let step = 0; step < steps; step++) {
		const products = dictionary.map((row) => dot(row, rest));
		codes.set(largest(products), codes.get(largest(products)) ?? 0);
		const change = new Float64Array(rest.length);
		for (const latent of codes.keys()) addScaled(change, dictionary[latent]!, products[latent]!);
		const square = dot(change, change);
		if (square === 0) break;
		const length = dot(change, rest) / square;
		rest.set(target);
		for (const [latent, code] of codes) {
			const moved = Math.max(0, code + length * products[latent]!);
			codes.set(latent, moved);
			addScaled(rest, dictionary[latent]!, -moved);
		}
	}
	return dot(rest, rest);
}

function largest(values: readonly number[]): number {
	return values.reduce((best, value, i) => (value > values[best]! ? i : best), 0);
}

function addScaled(into: Float64Array, values: Float64Array, scale: number): void {
	for (let i = 0; i < into.length; i++) into[i]! += scale * values[i]!;
}
