/** A bounded number of examples of every latent, with the rows around them, in flat arrays. */
import type { CodesByLatent } from "./by-latent.ts";
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
	/** By latent, what a key must be below to be kept. */
	readonly #bounds: Float64Array;
	readonly #keys: Float64Array;
	readonly #rows: Uint32Array;
	readonly #at: Uint16Array;
	readonly #lengths: Uint16Array;
	readonly #documents: Uint32Array;
	readonly #positions: Uint32Array;
	readonly #values: Float32Array;
	readonly #tokens: Uint32Array;
	readonly #texts: (string | null)[] = [];
	#hasDocuments = false;
	#hasPositions = false;

	/** Bytes of a latent. */
	static bytes(slots: number, { before, after, tokens }: ContextShape): number {
		return 10 + slots * (24 + (before + 1 + after) * (tokens ? 8 : 4));
	}

	constructor(d_sae: number, slots: number, shape: ContextShape) {
		const all = d_sae * slots;
		this.slots = slots;
		this.#shape = shape;
		this.#window = shape.before + 1 + shape.after;
		this.#filled = new Uint16Array(d_sae);
		this.#bounds = new Float64Array(d_sae).fill(
			slots > 0 ? Number.POSITIVE_INFINITY : Number.NEGATIVE_INFINITY,
		);
		this.#keys = new Float64Array(all);
		this.#rows = new Uint32Array(all);
		this.#at = new Uint16Array(all);
		this.#lengths = new Uint16Array(all);
		this.#documents = new Uint32Array(all);
		this.#positions = new Uint32Array(all);
		this.#values = new Float32Array(all * this.#window);
		this.#tokens = new Uint32Array(shape.tokens ? all * this.#window : 0);
	}

	/** A row is kept if its key is below this. */
	bound(latent: number): number {
		return this.#bounds[latent]!;
	}

	/**
	 * Keeps a row whose key is below the bound, and returns the new bound. Of rows from `since` on, which are in one
	 * window with this one, only the best is kept. Its context is still to be cut.
	 */
	put(latent: number, row: number, key: number, since = NEVER): number {
		const { slots } = this;
		const keys = this.#keys;
		const rows = this.#rows;
		const first = latent * slots;
		const end = first + this.#filled[latent]!;
		let worst = first;
		let most = Number.NEGATIVE_INFINITY;
		/** The largest key but for the worst one's. */
		let next = Number.NEGATIVE_INFINITY;
		let same = -1;
		for (let slot = first; slot < end; slot++) {
			const its = keys[slot]!;
			if (rows[slot]! >= since) same = slot;
			if (its > most || (its === most && rows[slot]! > rows[worst]!)) {
				next = most;
				most = its;
				worst = slot;
			} else if (its > next) next = its;
		}
		if (same >= 0 && key >= keys[same]!) return this.#bounds[latent]!;
		const isFull = end === first + slots;
		const isNew = same < 0 && !isFull;
		const slot = same >= 0 ? same : isFull ? worst : end;
		keys[slot] = key;
		rows[slot] = row;
		if (isNew) this.#filled[latent]!++;
		if (isNew ? end + 1 < first + slots : !isFull) return Number.POSITIVE_INFINITY;
		const bound = Math.max(slot === worst && !isNew ? next : most, key);
		this.#bounds[latent] = bound;
		return bound;
	}

	/**
	 * Cuts out the contexts of a latent's examples from row `since` on. `from` and `to`: its codes.
	 */
	cut(
		latent: number,
		since: number,
		recent: RecentRows,
		codes: CodesByLatent,
		from: number,
		to: number,
	): void {
		const first = latent * this.slots;
		const end = first + this.#filled[latent]!;
		for (let slot = first; slot < end; slot++) {
			if (this.#rows[slot]! >= since) this.#cut(slot, recent, codes, from, to);
		}
	}

	#cut(slot: number, recent: RecentRows, codes: CodesByLatent, from: number, to: number): void {
		const { before, after } = this.#shape;
		const { rows, begins, facts, texts } = recent;
		const place = this.#rows[slot]! - recent.first;
		let start = place;
		while (start > 0 && place - start < before && begins[start] === 0) start--;
		let end = place + 1;
		while (end < rows && end - place <= after && begins[end] === 0) end++;
		const out = slot * this.#window;
		const values = this.#values;
		for (let i = 0; i < end - start; i++) values[out + i] = 0;
		const { places, values: all } = codes;
		for (let at = codes.find(start, from, to); at < to && places[at]! < end; at++) {
			values[out + places[at]! - start] = all[at]!;
		}
		this.#at[slot] = place - start;
		this.#lengths[slot] = end - start;
		const { tokens, documents, positions } = facts;
		if (tokens) for (let i = start; i < end; i++) this.#tokens[out + i - start] = tokens[i]!;
		if (documents) this.#documents[slot] = documents[place]!;
		if (positions) this.#positions[slot] = positions[place]!;
		this.#hasDocuments = documents !== undefined;
		this.#hasPositions = positions !== undefined;
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
