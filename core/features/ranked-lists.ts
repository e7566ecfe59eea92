/** A short list of numbered values for every latent, in flat arrays. */
export class RankedLists<Entry> {
	readonly #most: number;
	readonly #make: (id: number, value: number) => Entry;
	readonly #ids: Uint32Array;
	readonly #values: Float32Array;
	readonly #lengths: Uint16Array;

	/** @param make what an entry is to whoever reads it. */
	constructor(d_sae: number, most: number, make: (id: number, value: number) => Entry) {
		this.#most = most;
		this.#make = make;
		this.#ids = new Uint32Array(d_sae * most);
		this.#values = new Float32Array(d_sae * most);
		this.#lengths = new Uint16Array(d_sae);
	}

	/** Those that there is no room for are left out. */
	set(latent: number, entries: readonly (readonly [id: number, value: number])[]): void {
		const kept = entries.slice(0, this.#most);
		this.#lengths[latent] = kept.length;
		for (const [i, [id, value]] of kept.entries()) {
			this.#ids[latent * this.#most + i] = id;
			this.#values[latent * this.#most + i] = value;
		}
	}

	of(latent: number): Entry[] {
		const first = latent * this.#most;
		return Array.from({ length: this.#lengths[latent]! }, (_, i) =>
			this.#make(this.#ids[first + i]!, this.#values[first + i]!),
		);
	}
}
