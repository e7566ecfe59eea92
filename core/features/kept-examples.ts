/** A bounded number of examples of every latent, with the rows around them, in flat arrays. */
import type { RecentRows } from "./recent-rows.ts";

export interface KeptExample {
	readonly value: number;
	readonly row: number;
	readonly document: number | null;
	readonly position: number | null;
	readonly at: number;
	readonly values: Float32Array;
	readonly tokens: Uint32Array;
	/** Of a row that is a whole text. */
	readonly text: string | null;
}

export interface ContextShape {
	/** Rows of a context before and after its own. */
	readonly before: number;
	readonly after: number;
	/** Whether rows have tokens. */
	readonly tokens: boolean;
}

/** No row is so late. */
export const NEVER = 2 ** 32;

/** Of every latent, those with the lowest keys; of equal keys, the earliest rows. Rows arrive in order. */
export class KeptExamples {
	readonly slots: number;
	readonly #shape: ContextShape;
	readonly #window: number;
	readonly #filled: Uint16Array;
	readonly #keys: Float64Array;
	readonly #rows: Uint32Array;
	readonly #at: Uint16Array;
	readonly #lengths: Uint16Array;
	readonly #documents: Uint32Array;
	readonly #positions: Uint32Array;
	readonly #values: Float32Array;
	readonly #tokens: Uint32Array;
	readonly #texts: (string | null)[] = [];
	/** Slots whose context is yet to be cut out, and whether a slot is among them. */
	#pending: number[] = [];
	readonly #isPending: Uint8Array;
	#hasDocuments = false;
	#hasPositions = false;

	/** Bytes of an example. */
	static bytes({ before, after, tokens }: ContextShape): number {
		return (before + 1 + after) * (tokens ? 8 : 4) + 8 + 4 + 2 + 2 + 4 + 4 + 1;
	}

	constructor(d_sae: number, slots: number, shape: ContextShape) {
		const all = d_sae * slots;
		this.slots = slots;
		this.#shape = shape;
		this.#window = shape.before + 1 + shape.after;
		this.#filled = new Uint16Array(d_sae);
		this.#keys = new Float64Array(all);
		this.#rows = new Uint32Array(all);
		this.#at = new Uint16Array(all);
		this.#lengths = new Uint16Array(all);
		this.#documents = new Uint32Array(all);
		this.#positions = new Uint32Array(all);
		this.#values = new Float32Array(all * this.#window);
		this.#tokens = new Uint32Array(shape.tokens ? all * this.#window : 0);
		this.#isPending = new Uint8Array(all);
	}

	/**
	 * Keeps a row if it belongs here, and returns the key that further ones must be below. Of rows from `since` on, which
	 * are in one window with this one, only the best is kept.
	 */
	put(latent: number, row: number, key: number, since = NEVER): number {
		const { slots } = this;
		const first = latent * slots;
		const filled = this.#filled[latent]!;
		let worst = first;
		for (let slot = first; slot < first + filled; slot++) {
			const [other, its] = [this.#rows[slot]!, this.#keys[slot]!];
			if (other >= since) {
				if (key < its) this.#set(slot, row, key);
				return this.#bound(latent);
			}
			const most = this.#keys[worst]!;
			if (its > most || (its === most && other > this.#rows[worst]!)) worst = slot;
		}
		if (filled < slots) {
			this.#filled[latent] = filled + 1;
			this.#set(first + filled, row, key);
		} else if (key < this.#keys[worst]!) this.#set(worst, row, key);
		return this.#bound(latent);
	}

	#bound(latent: number): number {
		if (this.#filled[latent]! < this.slots) return Number.POSITIVE_INFINITY;
		let most = Number.NEGATIVE_INFINITY;
		for (let slot = latent * this.slots; slot < (latent + 1) * this.slots; slot++) {
			if (this.#keys[slot]! > most) most = this.#keys[slot]!;
		}
		return most;
	}

	#set(slot: number, row: number, key: number): void {
		this.#rows[slot] = row;
		this.#keys[slot] = key;
		if (this.#isPending[slot]) return;
		this.#isPending[slot] = 1;
		this.#pending.push(slot);
	}

	/** Cuts out the contexts of examples before row `end`, whose whole contexts are among the recent rows. */
	resolve(recent: RecentRows, end: number): void {
		this.#hasDocuments ||= recent.facts.documents !== undefined;
		this.#hasPositions ||= recent.facts.positions !== undefined;
		this.#pending = this.#pending.filter((slot) => {
			if (this.#rows[slot]! >= end) return true;
			this.#isPending[slot] = 0;
			this.#cut(slot, recent);
			return false;
		});
	}

	#cut(slot: number, { first, rows, offsets, index, value, begins, facts, texts }: RecentRows): void {
		const { before, after } = this.#shape;
		const latent = Math.floor(slot / this.slots);
		const place = this.#rows[slot]! - first;
		let from = place;
		while (from > 0 && place - from < before && begins[from] === 0) from--;
		let to = place + 1;
		while (to < rows && to - place <= after && begins[to] === 0) to++;
		const out = slot * this.#window;
		for (let row = from; row < to; row++) {
			const end = offsets[row + 1]!;
			let low = offsets[row]!;
			let high = end;
			while (low < high) {
				const middle = (low + high) >> 1;
				if (index[middle]! < latent) low = middle + 1;
				else high = middle;
			}
			this.#values[out + row - from] = low < end && index[low] === latent ? value[low]! : 0;
		}
		this.#at[slot] = place - from;
		this.#lengths[slot] = to - from;
		if (facts.tokens) this.#tokens.set(facts.tokens.subarray(from, to), out);
		if (facts.documents) this.#documents[slot] = facts.documents[place]!;
		if (facts.positions) this.#positions[slot] = facts.positions[place]!;
		if (texts) this.#texts[slot] = texts[place]!;
	}

	/** A latent's examples, the largest activation first; of equal ones, the earliest row. */
	of(latent: number): KeptExample[] {
		const first = latent * this.slots;
		const found = Array.from({ length: this.#filled[latent]! }, (_, i): KeptExample => {
			const slot = first + i;
			const out = slot * this.#window;
			const end = out + this.#lengths[slot]!;
			const at = this.#at[slot]!;
			return {
				value: this.#values[out + at]!,
				row: this.#rows[slot]!,
				document: this.#hasDocuments ? this.#documents[slot]! : null,
				position: this.#hasPositions ? this.#positions[slot]! : null,
				at,
				values: this.#values.subarray(out, end),
				tokens: this.#tokens.subarray(out, end),
				text: this.#texts[slot] ?? null,
			};
		});
		return found.sort((a, b) => b.value - a.value || a.row - b.row);
	}
}
