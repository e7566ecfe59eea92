/** Which latents are active on the same rows, by counting every pair. */
import type { CooccurringLatent } from "../arrow/features.ts";
import type { Codes } from "../sae.ts";

/** Latents up to which every pair is counted: 64 MiB. */
export const MOST_COUNTED = 4096;

/** What co-occurrence is known from. */
export interface Cooccurrence {
	/** How, and how far off it may be, in words. */
	readonly description: string;
	/** The `most` latents with the largest Jaccard similarity, of equal ones the lower first; each is above 0. */
	of(latent: number, most: number): CooccurringLatent[];
}

/** How often each latent was active, and over how many rows. */
export interface Activity {
	readonly rows: number;
	readonly counts: Float64Array;
}

/** φ, the correlation of being active; 0 where a latent always is. `both`: rows on which both are. */
export function phi({ rows, counts }: Activity, i: number, j: number, both: number): number {
	const [a, b] = [counts[i]!, counts[j]!];
	const spread = Math.sqrt(a) * Math.sqrt(rows - a) * Math.sqrt(b) * Math.sqrt(rows - b);
	return spread === 0 ? 0 : (both * rows - a * b) / spread;
}

/** Puts an entry among the best, if it is one of them. */
export function rank(best: CooccurringLatent[], entry: CooccurringLatent, most: number): void {
	const { jaccard, latent } = entry;
	let at = best.length;
	while (at > 0) {
		const other = best[at - 1]!;
		if (other.jaccard > jaccard || (other.jaccard === jaccard && other.latent < latent)) break;
		at--;
	}
	if (at === most) return;
	if (best.length < most) best.push(entry);
	for (let i = best.length - 1; i > at; i--) best[i] = best[i - 1]!;
	best[at] = entry;
}

/** Codes by row, ascending: entries offsets[i] to offsets[i + 1] are those of the row at place i. */
type Rows = Pick<Codes, "offsets" | "index">;

export class PairCounts {
	readonly #d_sae: number;
	/** [d_sae, d_sae], of which the pairs with the lower latent first are used. */
	readonly #counts: Uint32Array;

	constructor(d_sae: number) {
		this.#d_sae = d_sae;
		this.#counts = new Uint32Array(d_sae * d_sae);
	}

	/** Adds the rows at `places[from]` to `places[to - 1]`, on which a latent is active. */
	add(latent: number, { offsets, index }: Rows, places: Uint32Array, from: number, to: number): void {
		// All counts of one latent fit in the nearest cache.
		const counts = this.#counts;
		const first = latent * this.#d_sae;
		for (let at = from; at < to; at++) {
			// From the row's last latent down to this one.
			for (let entry = offsets[places[at]! + 1]! - 1; index[entry]! > latent; entry--) {
				counts[first + index[entry]!]!++;
			}
		}
	}

	finish(activity: Activity): Cooccurrence {
		const d_sae = this.#d_sae;
		const counts = this.#counts;
		return {
			description: "exact: every pair of latents was counted on every row",
			of(latent, most) {
				const best: CooccurringLatent[] = [];
				for (let other = 0; other < d_sae; other++) {
					const both = counts[Math.min(latent, other) * d_sae + Math.max(latent, other)]!;
					if (both === 0) continue;
					const jaccard = both / (activity.counts[latent]! + activity.counts[other]! - both);
					rank(best, { latent: other, jaccard, phi: phi(activity, latent, other, both) }, most);
				}
				return best;
			},
		};
	}
}
