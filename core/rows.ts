/** Turns a stream of batches of any size into training batches of one size, shuffled and resumable. */
import type { RecordBatch } from "apache-arrow";
import type { Vectors, VectorType } from "./arrow/activations.ts";
import { vectorColumn } from "./arrow/vectors.ts";
import { SaeError } from "./errors.ts";
import { firstNonFinite } from "./finite.ts";
import { gatherRows } from "./gather.ts";
import { CounterRng } from "./random.ts";
import { permutation } from "./shuffle.ts";
import { META, type RecordStream } from "./stream.ts";

export interface RowReaderOptions {
	/** Column of vectors to read. */
	readonly column: string;
	/** Rows per batch. */
	readonly batchSize: number;
	/** Rows within which the order is shuffled; 0 keeps the stream's order. Two blocks are held in memory. */
	readonly shuffleBlock?: number;
	/** Seed of the shuffle. */
	readonly seed?: number;
	/** Position, in rows of the shuffled order, of the first row to yield. */
	readonly start?: number;
	/** Whether to leave out a last batch of fewer rows. */
	readonly dropShort?: boolean;
}

/** One batch. `data` is reused for the batch after the next: copy or upload it before asking for that one. */
export interface RowBatch extends Vectors {
	/** Rows before this batch, in the shuffled order: where to start in order to read it again. */
	readonly position: number;
}

/**
 * Reads the batches of one column. While a block is handed out, the next one is read.
 *
 * Every value is checked: NaN and infinities end in an error, since one of them spoils a whole run.
 *
 * Rows are numbered by the batches' `sae.cursor`, from 0 where there is none. With `start`, rows that come before
 * its block are skipped; a stream that begins after it is an error that says how to start the producer.
 */
export async function* readRows(stream: RecordStream, options: RowReaderOptions): AsyncGenerator<RowBatch> {
	const { batchSize, start = 0, seed = 0, dropShort = false } = options;
	const shuffled = (options.shuffleBlock ?? 0) > 0;
	const blockRows = shuffled ? options.shuffleBlock! : batchSize;
	const rng = new CounterRng(seed);
	const firstBlock = Math.floor(start / blockRows);
	// Only a shuffled block has to be read from its beginning.
	const origin = shuffled ? firstBlock * blockRows : start;
	const source = new BlockSource(stream, options.column, blockRows, origin);
	try {
		const batches: [BatchBuffer, BatchBuffer] = [new BatchBuffer(), new BatchBuffer()];
		let position = start;
		let filled = 0;
		let turn = 0;
		let pending = source.next();
		for (let block = firstBlock; ; block++) {
			const { rows, data, width, type } = await pending;
			if (rows === 0) break;
			// Ends early where a block is short: that is the last one.
			pending = rows === blockRows ? source.next() : Promise.resolve(NO_ROWS);
			pending.catch(() => {});
			const order = shuffled ? permutation(rng.derive(block), rows) : undefined;
			for (let at = block === firstBlock ? start - origin : 0; at < rows; ) {
				const buffer = batches[turn]!;
				const take = Math.min(batchSize - filled, rows - at);
				const target = buffer.of(type, batchSize * width);
				if (order) gatherRows(target, filled, data, width, order, at, take);
				else target.set(data.subarray(at * width, (at + take) * width), filled * width);
				filled += take;
				at += take;
				if (filled === batchSize) {
					yield buffer.rows(filled, width, type, position);
					position += filled;
					filled = 0;
					turn = 1 - turn;
				}
			}
		}
		if (filled > 0 && !dropShort) yield batches[turn]!.rows(filled, source.width, source.type, position);
	} finally {
		source.close();
	}
}

const NO_ROWS: Vectors = { data: new Float32Array(0), rows: 0, width: 0, type: "float32" };

/** Holds one batch; allocated once the type and width are known. */
class BatchBuffer {
	#data: Float32Array | Uint16Array = new Float32Array(0);

	of(type: VectorType, length: number): Float32Array | Uint16Array {
		if (this.#data.length !== length) this.#data = allocate(type, length);
		return this.#data;
	}

	rows(rows: number, width: number, type: VectorType, position: number): RowBatch {
		return { data: this.#data.subarray(0, rows * width), rows, width, type, position };
	}
}

function allocate(type: VectorType, length: number): Float32Array | Uint16Array {
	return type === "float16" ? new Uint16Array(length) : new Float32Array(length);
}

/** Collects the rows of a stream into blocks. Two buffers take turns, so a block is valid until the next but one. */
class BlockSource {
	width = 0;
	type: VectorType = "float32";
	readonly #batches: AsyncIterator<RecordBatch>;
	readonly #column: string;
	readonly #rows: number;
	readonly #buffers: (Float32Array | Uint16Array | undefined)[] = [undefined, undefined];
	#turn = 0;
	/** Row number at which the next batch should begin, if it says. */
	#expected: number | undefined;
	/** Row number of the next row to hand out. */
	#next: number;
	/** What is left of the last batch. */
	#rest: Vectors = NO_ROWS;

	constructor(stream: RecordStream, column: string, rows: number, start: number) {
		this.#batches = stream.batches[Symbol.asyncIterator]();
		this.#column = column;
		this.#rows = rows;
		this.#next = start;
	}

	/** The next block; fewer rows than a whole block at the end, none after it. */
	async next(): Promise<Vectors> {
		const turn = this.#turn;
		this.#turn = 1 - turn;
		let block: Float32Array | Uint16Array | undefined;
		let filled = 0;
		while (filled < this.#rows && (await this.#fill())) {
			const { width, type } = this;
			block = this.#buffers[turn] ??= allocate(type, this.#rows * width);
			const take = Math.min(this.#rows - filled, this.#rest.rows);
			block.set(this.#rest.data.subarray(0, take * width), filled * width);
			this.#drop(take);
			filled += take;
			this.#next += take;
		}
		const { width, type } = this;
		const data = block?.subarray(0, filled * width) ?? NO_ROWS.data;
		this.#checkFinite(data, this.#next - filled);
		return { data, rows: filled, width, type };
	}

	/** Does not wait: a producer that is in no hurry must not hold up a consumer that has enough. */
	close(): void {
		this.#batches.return?.().catch(() => {});
	}

	/** Makes sure that `#rest` begins with the next row; false at the end. */
	async #fill(): Promise<boolean> {
		while (this.#rest.rows === 0) {
			const { done, value } = await this.#batches.next();
			if (done) return false;
			const first = this.#rowNumber(value);
			this.#rest = this.#vectors(value);
			this.#expected = first + this.#rest.rows;
			this.#drop(Math.min(this.#rest.rows, Math.max(0, this.#next - first)));
		}
		return true;
	}

	#drop(rows: number): void {
		const { data, width, type } = this.#rest;
		this.#rest = { data: data.subarray(rows * width), rows: this.#rest.rows - rows, width, type };
	}

	/** The number of the batch's first row, from its cursor. */
	#rowNumber(batch: RecordBatch): number {
		const text = batch.metadata.get(META.cursor);
		const expected = this.#expected ?? 0;
		if (text === undefined) return expected;
		const cursor = Number(text);
		if (!Number.isSafeInteger(cursor) || cursor < 0) {
			throw new SaeError(`the stream's ${META.cursor} is "${text}", not a row number; make the stream again`);
		}
		if (this.#expected === undefined && cursor > this.#next) {
			throw new SaeError(
				`the stream starts at row ${cursor}, but row ${this.#next} is needed: start the producer with --start ${this.#next}`,
			);
		}
		if (this.#expected !== undefined && cursor !== expected) {
			throw new SaeError(
				`the stream jumps to row ${cursor} where row ${expected} should follow; make it again in one piece`,
			);
		}
		return cursor;
	}

	#vectors(batch: RecordBatch): Vectors {
		const vectors = vectorColumn(batch, this.#column);
		if (vectors.rows === 0) return vectors;
		if (this.width === 0) {
			if (vectors.width === 0) throw new SaeError(`column ${this.#column}: its vectors have no values`);
			this.width = vectors.width;
			this.type = vectors.type;
		}
		if (vectors.width !== this.width || vectors.type !== this.type) {
			throw new SaeError(
				`column ${this.#column}: changes from ${this.type}[${this.width}] to ${vectors.type}[${vectors.width}] at row ${this.#expected}`,
			);
		}
		return vectors;
	}

	#checkFinite(data: Float32Array | Uint16Array, firstRow: number): void {
		const bad = firstNonFinite(data);
		if (bad < 0) return;
		const row = firstRow + Math.floor(bad / this.width);
		throw new SaeError(
			`column ${this.#column}: row ${row} holds NaN or infinity (value ${bad % this.width}); drop such rows or repair the program that made them`,
		);
	}
}
