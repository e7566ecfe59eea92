/** One pass over sparse codes: statistics, examples and co-occurrence of every latent, in memory that does not grow. */
import { SaeError } from "../errors.ts";
import { firstNonFinite } from "../finite.ts";
import type { Codes } from "../sae.ts";
import { mixed, SPREAD } from "./hash.ts";
import { KeptExamples } from "./kept-examples.ts";
import { type Cooccurrence, MOST_COUNTED, PairCounts } from "./pairs.ts";
import { RecentRows, type RowFacts } from "./recent-rows.ts";
import {
	BINS,
	COUNT,
	FIELDS,
	LatentRecords,
	MAX,
	MIN,
	PER_WIDTH,
	SAMPLE_BELOW,
	SKETCH_BELOW,
	SUM,
	TOP_ABOVE,
} from "./records.ts";
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

/** Rows, or codes, after which the contexts of examples are cut out: by then most candidates have been displaced. */
const RESOLVE_ROWS = 65_536;
const RESOLVE_CODES = 1 << 22;
/** Rows that are taken in at a time. */
const PART_ROWS = 8192;
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
	/** Where the window of the last row begins. */
	#window = 0;

	constructor(options: CollectorOptions) {
		const { d_sae, examples, samples, sketch } = options;
		this.#options = options;
		this.#records = new LatentRecords(d_sae);
		this.#top = new KeptExamples(d_sae, examples, options);
		this.#samples = new KeptExamples(d_sae, samples, options);
		if (sketch > 0 && d_sae <= MOST_COUNTED) this.#pairs = new PairCounts(d_sae);
		else if (sketch > 0) this.#sketches = new RowSketches(d_sae, sketch);
		const { numbers } = this.#records;
		for (let at = 0; at < numbers.length; at += FIELDS) {
			numbers[at + TOP_ABOVE] = examples > 0 ? Number.NEGATIVE_INFINITY : Number.POSITIVE_INFINITY;
			numbers[at + SAMPLE_BELOW] = samples > 0 ? Number.POSITIVE_INFINITY : 0;
			numbers[at + SKETCH_BELOW] = this.#sketches ? Number.POSITIVE_INFINITY : 0;
		}
	}

	/** Rows so far. */
	get rows(): number {
		return this.#recent.first + this.#recent.rows;
	}

	/** @throws SaeError for codes that are not of this SAE, not finite, or not in order. */
	add(codes: Codes, facts: RowFacts): void {
		checkCodes(codes, this.#options.d_sae, this.rows);
		this.#pairs?.add(codes);
		const { before, after } = this.#options;
		const recent = this.#recent;
		for (let from = 0; from < codes.rows; ) {
			const to = partEnd(codes, from);
			const place = recent.rows;
			recent.append(codes, facts, from, to);
			this.#count(place);
			if (recent.rows >= RESOLVE_ROWS || recent.codes >= RESOLVE_CODES) {
				this.#resolve(this.rows - after);
				recent.discard(recent.rows - after - before);
			}
			from = to;
		}
	}

	finish(): Collected {
		this.#resolve(this.rows);
		const { rows } = this;
		const records = this.#records;
		const activity = { rows, count: (latent: number) => records.count(latent) };
		const cooccurrence = (this.#pairs ?? this.#sketches)?.finish(activity);
		return { rows, records, top: this.#top, samples: this.#samples, cooccurrence };
	}

	#resolve(end: number): void {
		this.#top.resolve(this.#recent, end);
		this.#samples.resolve(this.#recent, end);
	}

	/** Takes in the recent rows from `place` on. */
	#count(place: number): void {
		const { seed, before, after } = this.#options;
		const { first, rows, offsets, index, value, begins } = this.#recent;
		const records = this.#records;
		const { numbers, bins } = records;
		const [top, samples, sketches] = [this.#top, this.#samples, this.#sketches];
		const size = before + 1 + after;
		const key = mixed(seed);
		let window = this.#window;
		for (let i = place; i < rows; i++) {
			const row = first + i;
			if (begins[i] === 1 || row - window >= size) window = row;
			const rowHash = mixed(row ^ key);
			const sketchHash = mixed(rowHash);
			const end = offsets[i + 1]!;
			for (let entry = offsets[i]!; entry < end; entry++) {
				const activation = value[entry]!;
				if (activation === 0) continue;
				const latent = index[entry]!;
				const at = latent * FIELDS;
				numbers[at + COUNT]!++;
				numbers[at + SUM]! += activation;
				if (activation < numbers[at + MIN]!) {
					if (activation < 0 && numbers[at + MIN]! >= 0) records.makeSigned(latent);
					numbers[at + MIN] = activation;
				}
				if (activation > numbers[at + MAX]!) numbers[at + MAX] = activation;
				const base = numbers[at + MIN]! < 0 ? BINS / 2 : 0;
				let bin = Math.floor(activation * numbers[at + PER_WIDTH]!) + base;
				if (!(bin >= 0 && bin < BINS)) bin = records.fit(latent, activation);
				bins[latent * BINS + bin]!++;
				if (activation > numbers[at + TOP_ABOVE]!) {
					numbers[at + TOP_ABOVE] = -top.put(latent, row, -activation, window);
				}
				const hash = mixed(rowHash ^ Math.imul(latent, SPREAD));
				if (hash < numbers[at + SAMPLE_BELOW]!) {
					numbers[at + SAMPLE_BELOW] = samples.put(latent, row, hash);
				}
				if (sketchHash < numbers[at + SKETCH_BELOW]!) {
					numbers[at + SKETCH_BELOW] = sketches!.add(latent, sketchHash);
				}
			}
		}
		this.#window = window;
	}
}

/** Where a part ends that begins at row `from`: few rows, and few codes unless it is one row. */
function partEnd({ rows, offsets }: Codes, from: number): number {
	let to = Math.min(rows, from + PART_ROWS);
	while (to - from > 1 && offsets[to]! - offsets[from]! > RESOLVE_CODES) to = from + ((to - from) >> 1);
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

function wrongLatent(row: number, latent: number, d_sae: number): SaeError {
	if (latent < d_sae) {
		return new SaeError(`column latents: row ${row} does not name its latents in ascending order`);
	}
	return new SaeError(
		`column latents: row ${row} names latent ${latent}, this SAE has ${d_sae}; was it another that encoded?`,
	);
}
