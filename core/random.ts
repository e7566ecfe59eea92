/**
 * Counter-based random numbers: value i is a pure function of (seed, i), so that any stream of them can be
 * entered anywhere. The generator is Threefry-2x32 with 20 rounds (Salmon et al., "Parallel random numbers: as
 * easy as 1, 2, 3", SC 2011), which needs only 32-bit additions, rotations and exclusive-ors.
 */

const PARITY = 0x1bd11bda;
const ROTATIONS = [13, 15, 26, 6, 17, 29, 16, 24];
const TWO_32 = 2 ** 32;

/** A family of random values indexed by whole numbers from 0 to 2^53 − 1. */
export class CounterRng {
	readonly #keys: readonly [number, number, number];
	/** The two words of the last block, kept here so that no draw allocates. */
	#word0 = 0;
	#word1 = 0;

	/** `seed`: a whole number from 0 to 2^53 − 1. */
	constructor(seed: number, keyHigh = Math.floor(seed / TWO_32)) {
		this.#keys = [seed | 0, keyHigh | 0, (seed | 0) ^ (keyHigh | 0) ^ PARITY];
	}

	/** An independent family for one purpose, e.g. one per block of a shuffle. `label`: as for an index. */
	derive(label: number): CounterRng {
		// Bit 31 of the high word is never set by an index, so that a derived key is not also a drawn value.
		this.#block(label | 0, Math.floor(label / TWO_32) | 0x80000000);
		return new CounterRng(this.#word0, this.#word1);
	}

	/** A whole number from 0 to 2^32 − 1. */
	u32(i: number): number {
		this.#block(i | 0, Math.floor(i / TWO_32));
		return this.#word0 >>> 0;
	}

	/** Uniform on [0, 1), with 53 random bits. */
	uniform(i: number): number {
		this.#block(i | 0, Math.floor(i / TWO_32));
		return ((this.#word0 >>> 5) * 2 ** 26 + (this.#word1 >>> 6)) / 2 ** 53;
	}

	/** Standard normal, by Box and Muller. */
	normal(i: number): number {
		this.#block(i | 0, Math.floor(i / TWO_32));
		const radius = Math.sqrt(-2 * Math.log(((this.#word0 >>> 0) + 1) / TWO_32));
		return radius * Math.cos((2 * Math.PI * (this.#word1 >>> 0)) / TWO_32);
	}

	#block(counter0: number, counter1: number): void {
		const keys = this.#keys;
		let a = (counter0 + keys[0]) | 0;
		let b = (counter1 + keys[1]) | 0;
		for (let round = 0; round < 20; round++) {
			const turn = ROTATIONS[round & 7]!;
			a = (a + b) | 0;
			b = ((b << turn) | (b >>> (32 - turn))) ^ a;
			if ((round & 3) === 3) {
				const group = (round + 1) >> 2;
				a = (a + keys[group % 3]!) | 0;
				b = (b + keys[(group + 1) % 3]! + group) | 0;
			}
		}
		this.#word0 = a;
		this.#word1 = b;
	}
}
