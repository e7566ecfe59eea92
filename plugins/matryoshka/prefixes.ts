/** Which latents the nested reconstructions of a Matryoshka SAE have. */
import type { Core } from "saeflow";

/** One of the sizes that `--prefixes` lists: a share of the latents (1/16, 0.25), or their number. */
export type Prefix = { readonly share: number } | { readonly latents: number };

/** Reads `1/16,1/8,0.25,4096`; undefined where it is no such list. */
export function parsePrefixes(text: string): Prefix[] | undefined {
	const prefixes = text.split(",").map((word) => parsePrefix(word.trim()));
	return prefixes.every((prefix) => prefix !== undefined) ? prefixes : undefined;
}

function parsePrefix(word: string): Prefix | undefined {
	const [, over, under] = /^(\d+)\/(\d+)$/.exec(word) ?? [];
	if (under !== undefined) return { share: Number(over) / Number(under) };
	if (/^\d*\.\d+$/.test(word)) return { share: Number(word) };
	return /^\d+$/.test(word) ? { latents: Number(word) } : undefined;
}

/** Sizes in latents, with d_sae as the last one. @throws a usage error unless they rise from 1 to d_sae. */
export function fixedSizes({ usageError }: Core, prefixes: readonly Prefix[], d_sae: number): number[] {
	const sizes = prefixes.map((one) => ("share" in one ? Math.round(one.share * d_sae) : one.latents));
	if (sizes.at(-1) !== d_sae) sizes.push(d_sae);
	if (sizes.some((size, i) => size <= (sizes[i - 1] ?? 0))) {
		throw usageError(
			`--prefixes: must rise from 1 to d_sae, which is ${d_sae}; these are ${sizes.join(", ")}`,
		);
	}
	return sizes;
}

/**
 * Sizes that are drawn anew for every update (Nabeshima 2024): distinct ones, ℓ with a probability in proportion to
 * √ℓ − √(ℓ − 1), so that short prefixes are frequent, and d_sae as the last one. They follow from the update alone, so
 * that a resumed run draws the same.
 *
 * @param count Of all, d_sae included; at most d_sae.
 */
export function randomSizes({ CounterRng }: Core, count: number, d_sae: number, update: number): number[] {
	const rng = new CounterRng(0).derive(update);
	const sizes = new Set<number>();
	for (let draw = 0; sizes.size < count - 1; draw++) {
		sizes.add(Math.floor((d_sae - 1) * rng.uniform(draw) ** 2) + 1);
	}
	return [...[...sizes].sort((a, b) => a - b), d_sae];
}
