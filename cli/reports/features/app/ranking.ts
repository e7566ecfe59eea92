/** Latents by how near they are to the largest activations that they are known to have. Pure data. */
import type { ActiveLatent } from "./encode.ts";

export interface RankedLatent extends ActiveLatent {
	/** The value, of either sign, as a share of the latent's largest; 1 where that is passed. */
	readonly share: number;
}

/** Each latent once, where it is most active; the nearest to its largest activation first. */
export function ranked(
	latents: readonly ActiveLatent[],
	largestOf: (latent: number) => number | undefined,
): RankedLatent[] {
	const best = new Map<number, RankedLatent>();
	for (const { latent, value } of latents) {
		const size = Math.abs(value);
		const share = Math.min(1, size / (largestOf(latent) || size || 1));
		if (Math.abs(best.get(latent)?.value ?? 0) < size) best.set(latent, { latent, value, share });
	}
	return [...best.values()].sort((a, b) => b.share - a.share || Math.abs(b.value) - Math.abs(a.value));
}
