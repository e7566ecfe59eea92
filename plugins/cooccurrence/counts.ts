/** How often pairs of latents are on together, in memory that the number of latents looked at bounds. */

/** Sets that the latents to look at are chosen by, where there are too many to look at all. */
const CHOOSING_SETS = 4096;

export interface PairCounts {
	/** Latents looked at, ascending. */
	readonly latents: Uint32Array;
	/** Sets in all. */
	readonly sets: number;
	/** In how many sets latents i and j (numbers in `latents`) are both on; with i = j, in how many i is. */
	together(i: number, j: number): number;
}

/**
 * Counts pairs within sets of latents. All latents take part where there are no more than `most`; else those that were
 * on most often in the first 4,096 sets, which are counted too. Memory: most² counts of 32 bits, and those sets.
 */
export class Cooccurrence {
	readonly #d_sae: number;
	readonly #most: number;
	#waiting: Uint32Array[] | undefined;
	#latents: Uint32Array;
	readonly #place: Int32Array;
	#counts: Uint32Array;
	#sets = 0;

	constructor(d_sae: number, most: number) {
		this.#d_sae = d_sae;
		this.#most = most;
		this.#place = new Int32Array(d_sae).fill(-1);
		this.#latents = new Uint32Array();
		this.#counts = new Uint32Array();
		if (d_sae > most) this.#waiting = [];
		else this.#choose(Uint32Array.from({ length: d_sae }, (_, latent) => latent));
	}

	/** `on`: different latents. */
	add(on: Uint32Array): void {
		this.#waiting?.push(on.slice());
		if (!this.#waiting) this.#count(on);
		else if (this.#waiting.length === CHOOSING_SETS) this.#chooseFrequent();
	}

	finish(): PairCounts {
		this.#chooseFrequent();
		const [counts, size] = [this.#counts, this.#latents.length];
		return {
			latents: this.#latents,
			sets: this.#sets,
			together: (i, j) => counts[Math.min(i, j) * size + Math.max(i, j)]!,
		};
	}

	#chooseFrequent(): void {
		const sets = this.#waiting;
		if (!sets) return;
		const fired = new Uint32Array(this.#d_sae);
		for (const set of sets) for (const latent of set) fired[latent]!++;
		const order = Array.from(fired.keys()).sort((a, b) => fired[b]! - fired[a]! || a - b);
		this.#choose(Uint32Array.from(order.slice(0, this.#most)).sort());
		this.#waiting = undefined;
		for (const set of sets) this.#count(set);
	}

	#choose(latents: Uint32Array): void {
		this.#latents = latents;
		latents.forEach((latent, i) => {
			this.#place[latent] = i;
		});
		this.#counts = new Uint32Array(latents.length ** 2);
	}

	#count(on: Uint32Array): void {
		this.#sets++;
		const size = this.#latents.length;
		const places = on
			.map((latent) => this.#place[latent]!)
			.filter((place) => place < size)
			.sort();
		for (let a = 0; a < places.length; a++) {
			for (let b = a; b < places.length; b++) this.#counts[places[a]! * size + places[b]!]!++;
		}
	}
}

/** φ coefficient of two latents (Pearson's correlation of being on); null where one is always or never on. */
export function phi({ sets, together }: PairCounts, i: number, j: number): number | null {
	const [a, b, both] = [together(i, i), together(j, j), together(i, j)];
	const spread = Math.sqrt(a) * Math.sqrt(sets - a) * Math.sqrt(b) * Math.sqrt(sets - b);
	return spread === 0 ? null : (both * sets - a * b) / spread;
}
