/** Ids of words that were seen before, found by their characters without a string for each of them. */

/** Words that are kept, and characters and ids of all of them; when there is no room for another, all are given up. */
const WORDS = 1 << 17;
const CHARACTERS = 1 << 21;
const IDS = 1 << 20;
/** A longer word is not kept. */
const LONGEST = 255;

export class WordTable {
	readonly #idsOf: (word: string) => readonly number[];
	/** By hash: a word's number + 1, or 0. */
	readonly #slots = new Uint32Array(2 * WORDS);
	readonly #characters = new Uint16Array(CHARACTERS);
	readonly #ids = new Uint32Array(IDS);
	/** Where a word's characters and ids begin, which is where those of the one before end. */
	readonly #characterStarts = new Uint32Array(WORDS + 1);
	readonly #idStarts = new Uint32Array(WORDS + 1);
	#words = 0;
	#out = new Uint32Array(1 << 12);
	#length = 0;

	constructor(idsOf: (word: string) => readonly number[]) {
		this.#idsOf = idsOf;
	}

	/** Begins a text. */
	begin(): void {
		this.#length = 0;
	}

	/** All ids that were put since the text began. */
	ids(): Uint32Array {
		return this.#out.slice(0, this.#length);
	}

	put(id: number): void {
		this.#reserve(1);
		this.#out[this.#length++] = id;
	}

	/** Puts the ids of the word that is there in a text. */
	word(text: string, from: number, to: number): void {
		let hash = 0;
		for (let i = from; i < to; i++) hash = Math.imul(hash ^ text.charCodeAt(i), 0x9e3779b1);
		const mask = this.#slots.length - 1;
		let slot = (hash ^ (hash >>> 15)) & mask;
		for (let word = this.#slots[slot]!; word > 0; word = this.#slots[slot]!) {
			if (this.#is(word - 1, text, from, to)) {
				this.#copy(word - 1);
				return;
			}
			slot = (slot + 1) & mask;
		}
		const ids = this.#idsOf(text.slice(from, to));
		this.#reserve(ids.length);
		for (const id of ids) this.#out[this.#length++] = id;
		if (to - from <= LONGEST) this.#keep(slot, text, from, to, ids);
	}

	#is(word: number, text: string, from: number, to: number): boolean {
		const start = this.#characterStarts[word]!;
		if (this.#characterStarts[word + 1]! - start !== to - from) return false;
		for (let i = from; i < to; i++) {
			if (this.#characters[start + i - from] !== text.charCodeAt(i)) return false;
		}
		return true;
	}

	#copy(word: number): void {
		const end = this.#idStarts[word + 1]!;
		let from = this.#idStarts[word]!;
		this.#reserve(end - from);
		while (from < end) this.#out[this.#length++] = this.#ids[from++]!;
	}

	#keep(slot: number, text: string, from: number, to: number, ids: readonly number[]): void {
		const word = this.#words;
		const character = this.#characterStarts[word]! + to - from;
		const id = this.#idStarts[word]! + ids.length;
		if (word === WORDS || character > CHARACTERS || id > IDS) {
			this.#slots.fill(0);
			this.#words = 0;
			return;
		}
		for (let i = from; i < to; i++) this.#characters[character - to + i] = text.charCodeAt(i);
		this.#ids.set(ids, this.#idStarts[word]!);
		this.#characterStarts[word + 1] = character;
		this.#idStarts[word + 1] = id;
		this.#slots[slot] = word + 1;
		this.#words++;
	}

	#reserve(more: number): void {
		if (this.#length + more <= this.#out.length) return;
		const larger = new Uint32Array(2 * (this.#length + more));
		larger.set(this.#out.subarray(0, this.#length));
		this.#out = larger;
	}
}
