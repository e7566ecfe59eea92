/** Numbers that look drawn at random, but follow from what they are of: whatever is chosen by them can be repeated. */

/** A one-to-one map of the 32-bit numbers. Multipliers: C. Wellons, hash-prospector. */
export function mixed(value: number): number {
	let x = value ^ (value >>> 16);
	x = Math.imul(x, 0x21f0aaad);
	x = Math.imul(x ^ (x >>> 15), 0x735a2d97);
	return (x ^ (x >>> 15)) >>> 0;
}

/** Spreads latents over the 32-bit numbers; odd, so that no two fall together. */
export const SPREAD = 0x9e3779b1;
