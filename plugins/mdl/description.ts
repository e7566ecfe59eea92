/** Bits to describe codes: which latents are on, and to which of some levels their values are rounded. */
import type { Codes } from "saeflow";

/** Per latent, the largest absolute value seen: levels divide 0 to that evenly, for each sign that occurs. */
export function largestValues(codes: readonly Codes[], d_sae: number): Float64Array {
	const largest = new Float64Array(d_sae);
	for (const { index, value } of codes) {
		for (const [entry, latent] of index.entries()) {
			largest[latent] = Math.max(largest[latent]!, Math.abs(value[entry]!));
		}
	}
	return largest;
}

/** Level of a value out of `levels`: 0 to levels − 1, or −1 and below for a negative value. */
function levelOf(value: number, largest: number, levels: number): number {
	const level = Math.min(levels - 1, Math.floor((Math.abs(value) / largest) * levels));
	return value < 0 ? -1 - level : level;
}

/** The same codes with every value at the middle of its level; those that are 0 stay. */
export function rounded(codes: Codes, largest: Float64Array, levels: number): Codes {
	const value = codes.value.map((own, entry) => {
		if (own === 0) return 0;
		const most = largest[codes.index[entry]!]!;
		const level = levelOf(own, most, levels);
		return ((level + 0.5) * most) / levels;
	});
	return { ...codes, value };
}

/**
 * Bits per row: `address` = Σ_i H(p_i), for whether each latent is on; `value` = Σ_i p_i · H(level | on), with p_i the
 * share of rows that latent i is on in (Ayonrinde, Pearce & Sharkey 2024).
 */
export function descriptionLength(codes: readonly Codes[], largest: Float64Array, levels: number) {
	const width = 2 * levels;
	const counts = new Float64Array(largest.length * width);
	let rows = 0;
	for (const { rows: own, index, value } of codes) {
		rows += own;
		for (const [entry, latent] of index.entries()) {
			if (value[entry] === 0) continue;
			counts[latent * width + levels + levelOf(value[entry]!, largest[latent]!, levels)]!++;
		}
	}
	let [address, values] = [0, 0];
	for (let latent = 0; latent < largest.length; latent++) {
		const own = counts.subarray(latent * width, (latent + 1) * width);
		const on = own.reduce((sum, count) => sum + count, 0);
		address += entropy([on, rows - on]);
		values += (on / rows) * entropy(own);
	}
	return { rows, address, values };
}

/** In bits, of things counted so often each. */
function entropy(counts: ArrayLike<number>): number {
	let [total, sum] = [0, 0];
	for (let i = 0; i < counts.length; i++) total += counts[i]!;
	for (let i = 0; i < counts.length; i++) {
		if (counts[i]! > 0) sum -= (counts[i]! / total) * Math.log2(counts[i]! / total);
	}
	return sum;
}
