/** The rows that came last: what contexts are cut from. */
import type { Codes } from "../sae.ts";

/** What is known of rows beside their codes; what a stream lacks is left out. */
export interface RowFacts {
	readonly tokens?: Uint32Array | undefined;
	readonly documents?: Uint32Array | undefined;
	readonly positions?: Uint32Array | undefined;
	/** Of rows that are whole texts. */
	readonly texts?: readonly (string | null)[] | undefined;
	/** Whether rows have nothing to do with those around them. */
	readonly alone: boolean;
}

export type NumberFact = "tokens" | "documents" | "positions";
const NUMBER_FACTS: readonly NumberFact[] = ["tokens", "documents", "positions"];

type Numbers = Uint32Array | Float32Array | Uint8Array;

/** Rows by their place in arrays that are used again and again; row `first` of the stream is at place 0. */
export class RecentRows {
	first = 0;
	rows = 0;
	/** Codes of the row at place i: entries offsets[i] to offsets[i + 1]. */
	offsets = new Uint32Array(1);
	index = new Uint32Array();
	value = new Float32Array();
	/** 1 where a row does not go on from the one before it. */
	begins = new Uint8Array();
	readonly facts: Partial<Record<NumberFact, Uint32Array>> = {};
	texts: (string | null)[] | undefined;

	get codes(): number {
		return this.offsets[this.rows]!;
	}

	/** Adds rows `from` to `to` (exclusive) of a batch. */
	append(codes: Codes, facts: RowFacts, from: number, to: number): void {
		const count = to - from;
		const [begin, end] = [codes.offsets[from]!, codes.offsets[to]!];
		const [rows, entries] = [this.rows, this.codes];
		this.offsets = withRoom(this.offsets, rows + 1, rows + count + 1);
		this.index = withRoom(this.index, entries, entries + end - begin);
		this.value = withRoom(this.value, entries, entries + end - begin);
		this.begins = withRoom(this.begins, rows, rows + count);
		this.index.set(codes.index.subarray(begin, end), entries);
		this.value.set(codes.value.subarray(begin, end), entries);
		for (let i = 1; i <= count; i++) this.offsets[rows + i] = codes.offsets[from + i]! - begin + entries;
		for (const name of NUMBER_FACTS) {
			const given = facts[name];
			if (!given) continue;
			this.facts[name] = withRoom(this.facts[name] ?? new Uint32Array(), rows, rows + count);
			this.facts[name].set(given.subarray(from, to), rows);
		}
		if (facts.texts) {
			this.texts ??= [];
			for (let i = from; i < to; i++) this.texts.push(facts.texts[i]!);
		}
		this.rows += count;
		this.#markBegins(rows, facts.alone);
	}

	/** A row goes on where the document stays the same and the position is the next one. */
	#markBegins(from: number, alone: boolean): void {
		const { documents, positions } = this.facts;
		const { begins, rows } = this;
		if (alone) {
			begins.fill(1, from, rows);
			return;
		}
		for (let row = from; row < rows; row++) {
			const before = row - 1;
			const begin =
				before < 0 ||
				(documents !== undefined && documents[row] !== documents[before]) ||
				(positions !== undefined && positions[row] !== positions[before]! + 1);
			begins[row] = begin ? 1 : 0;
		}
	}

	/** Forgets the first rows. */
	discard(count: number): void {
		if (count <= 0) return;
		const begin = this.offsets[count]!;
		this.index.copyWithin(0, begin, this.codes);
		this.value.copyWithin(0, begin, this.codes);
		for (let i = count; i <= this.rows; i++) this.offsets[i - count] = this.offsets[i]! - begin;
		this.begins.copyWithin(0, count, this.rows);
		for (const name of NUMBER_FACTS) this.facts[name]?.copyWithin(0, count, this.rows);
		this.texts?.splice(0, count);
		this.first += count;
		this.rows -= count;
	}
}

/** An array that holds `wanted` numbers, of which the first `used` are kept. */
function withRoom<T extends Numbers>(array: T, used: number, wanted: number): T {
	if (array.length >= wanted) return array;
	const wider = new (array.constructor as new (length: number) => T)(Math.max(wanted, 2 * array.length));
	wider.set(array.subarray(0, used));
	return wider;
}
