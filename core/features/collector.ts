/** One pass over sparse codes: statistics, examples and co-occurrence of every latent, in memory that does not grow. */
import { SaeError } from "../errors.ts";
import { firstNonFinite } from "../finite.ts";
import type { Codes } from "../sae.ts";
import { CodesByLatent } from "./by-latent.ts";
import { mixed, SPREAD } from "./hash.ts";
import { KeptExamples } from "./kept-examples.ts";
import { type Cooccurrence, MOST_COUNTED, PairCounts } from "./pairs.ts";
import { RecentRows, type RowFacts } from "./recent-rows.ts";
import { LatentRecords } from "./records.ts";
import { RowSketches } from "./sketch.ts";

export interface CollectorOptions {
	readonly d_sae: number;
	/** Top examples per latent. */
	readonly examples: number;
	/** Samples per latent. */
	readonly samples: number;
	/** Rows of a context before and after its own. */
	readonly before: number;
	readonly after: number;
	/** Whether rows have tokens. */
	readonly tokens: boolean;
	/** Rows per latent that co-occurrence is estimated from where pairs are too many to count; 0: not at all. */
	readonly sketch: number;
	/** Of the samples. */
	readonly seed: number;
}

export interface Collected {
	readonly rows: number;
	readonly records: LatentRecords;
	/** Rows of the largest activations, one to a window of as many rows as a context has. */
	readonly top: KeptExamples;
	/** Drawn without replacement from all rows of the latent, each with the same probability. */
	readonly samples: KeptExamples;
	readonly cooccurrence: Cooccurrence | undefined;
}

/** Rows, or codes, that are looked at together: enough for many codes of a latent, few enough for caches. */
const BLOCK_ROWS = 1 << 14;
const BLOCK_CODES = 1 << 20;
/** Rows are numbered, and counted in bins, with 32 bits. */
const MOST_ROWS = 2 ** 32;

/**
 * Add batches in order, then finish. What comes out depends on the rows alone, not on how they are cut into batches.
 *
 * @example
 * const collector = new Collector({ d_sae, examples: 20, samples: 25, before: 24, after: 7, tokens: true, sketch: 256, seed: 0 });
 * for await (const batch of latents) collector.add(codesOf(batch), { tokens, alone: false });
 * const { records, top } = collector.finish();
 */
export class Collector {
	readonly #options: CollectorOptions;
	readonly #records: LatentRecords;
	readonly #top: KeptExamples;
	readonly #samples: KeptExamples;
	readonly #pairs: PairCounts | undefined;
	readonly #sketches: RowSketches | undefined;
	readonly #recent = new RecentRows();
	readonly #codes: CodesByLatent;
	/** By place among the recent rows: hashes for the samples and for the sketches, and where the row's window begins. */
	#hashes = new Uint32Array();
	#sketchHashes = new Uint32Array();
	#windows = new Uint32Array();
	/** Rows that were looked at. */
	#done = 0;
	/** Where the window of the last of them begins. */
	#window = 0;

	constructor(options: CollectorOptions) {
		const { d_sae, examples, samples, sketch } = options;
		this.#options = options;
		this.#records = new LatentRecords(d_sae);
		this.#codes = new CodesByLatent(d_sae);
		this.#top = new KeptExamples(d_sae, examples, options);
		this.#samples = new KeptExamples(d_sae, samples, options);
		if (sketch > 0 && d_sae <= MOST_COUNTED) this.#pairs = new PairCounts(d_sae);
		else if (sketch > 0) this.#sketches = new RowSketches(d_sae, sketch);
	}

	/** Rows so far. */
	get rows(): number {
		return this.#recent.first + this.#recent.rows;
	}

	/** @throws SaeError for codes that are not of this SAE, not finite, or not in order. */
	add(given: Codes, facts: RowFacts): void {
		checkCodes(given, this.#options.d_sae, this.rows);
		const codes = withoutZeros(given);
		const { before, after } = this.#options;
		const recent = this.#recent;
		for (let from = 0; from < codes.rows; ) {
			const to = partEnd(codes, from);
			recent.append(codes, facts, from, to);
			from = to;
			// Those rows are ready that have all of their context.
			const ready = this.rows - after - this.#done;
			const isMuch = ready >= BLOCK_ROWS || (recent.codes >= BLOCK_CODES && ready > before + after);
			if (!isMuch) continue;
			this.#lookAt(ready);
			recent.discard(this.#done - before - recent.first);
		}
	}

	finish(): Collected {
		this.#lookAt(this.rows - this.#done);
		const { rows } = this;
		const records = this.#records;
		const cooccurrence = (this.#pairs ?? this.#sketches)?.finish({ rows, counts: records.counts });
		return { rows, records, top: this.#top, samples: this.#samples, cooccurrence };
	}

	/** Takes in the next `count` rows; those before and after are there for contexts. */
	#lookAt(count: number): void {
		const codes = this.#codes;
		const begin = this.#done - this.#recent.first;
		codes.sort(this.#recent);
		this.#prepare(begin, begin + count);
		const { starts } = codes;
		for (let latent = 0; latent < this.#options.d_sae; latent++) {
			const all = starts[latent + 1]!;
			if (starts[latent] === all) continue;
			const from = codes.find(begin, starts[latent]!, all);
			const to = codes.find(begin + count, from, all);
			if (from < to) this.#take(latent, from, to);
		}
		this.#done += count;
	}

	/** Hashes and windows of the rows from place `begin` to `end` (exclusive). */
	#prepare(begin: number, end: number): void {
		const { seed, before, after } = this.#options;
		const { first, begins } = this.#recent;
		if (this.#hashes.length < end) {
			this.#hashes = new Uint32Array(end);
			this.#sketchHashes = new Uint32Array(end);
			this.#windows = new Uint32Array(end);
		}
		const size = before + 1 + after;
		const key = mixed(seed);
		for (let place = begin; place < end; place++) {
			const row = first + place;
			if (begins[place] === 1 || row - this.#window >= size) this.#window = row;
			this.#windows[place] = this.#window;
			this.#hashes[place] = mixed(row ^ key);
			this.#sketchHashes[place] = mixed(this.#hashes[place]!);
		}
	}

	/** Takes in a latent's codes `from` to `to` (exclusive). */
	#take(latent: number, from: number, to: number): void {
		const { places, values, starts } = this.#codes;
		// Each of them goes over the codes by itself, which a processor is better at than at doing all at once.
		this.#records.add(latent, values, from, to);
		this.#pairs?.add(latent, this.#recent, places, from, to);
		this.#sketches?.add(latent, this.#sketchHashes, places, from, to);
		const isTop = this.#takeTop(latent, from, to);
		const isSample = this.#takeSamples(latent, from, to);
		const [begin, end] = [starts[latent]!, starts[latent + 1]!];
		if (isTop) this.#top.cut(latent, this.#done, this.#recent, this.#codes, begin, end);
		if (isSample) this.#samples.cut(latent, this.#done, this.#recent, this.#codes, begin, end);
	}

	/** Whether any of the codes may be a top example now. */
	#takeTop(latent: number, from: number, to: number): boolean {
		const top = this.#top;
		const windows = this.#windows;
		const { first } = this.#recent;
		const { places, values } = this.#codes;
		let bound = top.bound(latent);
		let found = false;
		for (let at = from; at < to; at++) {
			const key = -values[at]!;
			if (key >= bound) continue;
			bound = top.put(latent, first + places[at]!, key, windows[places[at]!]!);
			found = true;
		}
		return found;
	}

	/** Whether any of the codes is a sample now, or was for a moment. */
	#takeSamples(latent: number, from: number, to: number): boolean {
		const samples = this.#samples;
		const hashes = this.#hashes;
		const { first } = this.#recent;
		const { places } = this.#codes;
		const own = Math.imul(latent, SPREAD);
		let bound = samples.bound(latent);
		let found = false;
		for (let at = from; at < to; at++) {
			const key = mixed(hashes[places[at]!]! ^ own);
			if (key >= bound) continue;
			bound = samples.put(latent, first + places[at]!, key);
			found = true;
		}
		return found;
	}
}

/** Where a part ends that begins at row `from`: a block's rows at most, and its codes unless it is one row. */
function partEnd({ rows, offsets }: Codes, from: number): number {
	let to = Math.min(rows, from + BLOCK_ROWS);
	while (to - from > 1 && offsets[to]! - offsets[from]! > BLOCK_CODES) to = from + ((to - from) >> 1);
	return to;
}

function checkCodes({ rows, offsets, index, value }: Codes, d_sae: number, first: number): void {
	if (first + rows >= MOST_ROWS) throw new SaeError(`more than ${MOST_ROWS} rows; take a part of them`);
	if (firstNonFinite(value) >= 0) throw new SaeError("column latents: holds NaN or infinity");
	for (let row = 0; row < rows; row++) {
		let last = -1;
		const end = offsets[row + 1]!;
		for (let at = offsets[row]!; at < end; at++) {
			const latent = index[at]!;
			if (latent <= last || latent >= d_sae) throw wrongLatent(first + row, latent, d_sae);
			last = latent;
		}
	}
}

/** A code of 0 is none. */
function withoutZeros(codes: Codes): Codes {
	if (!codes.value.includes(0)) return codes;
	const offsets = new Uint32Array(codes.rows + 1);
	const kept: number[] = [];
	for (let row = 0; row < codes.rows; row++) {
		for (let at = codes.offsets[row]!; at < codes.offsets[row + 1]!; at++)
			if (codes.value[at] !== 0) kept.push(at);
		offsets[row + 1] = kept.length;
	}
	return {
		rows: codes.rows,
		offsets,
		index: Uint32Array.from(kept, (at) => codes.index[at]!),
		value: Float32Array.from(kept, (at) => codes.value[at]!),
	};
}

function wrongLatent(row: number, latent: number, d_sae: number): SaeError {
	if (latent < d_sae) {
		return new SaeError(`column latents: row ${row} does not name its latents in ascending order`);
	}
	return new SaeError(
		`column latents: row ${row} names latent ${latent}, this SAE has ${d_sae}; was it another that encoded?`,
	);
}
