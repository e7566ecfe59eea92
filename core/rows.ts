/** Turns a stream of batches of any size into training batches of one size, shuffled and resumable. */
import type { Vectors, VectorType } from "./arrow/activations.ts";
import { gatherRows } from "./gather.ts";
import {
	allocate,
	type BlockLayout,
	type Blocks,
	type Lane,
	type Lanes,
	LocalBlocks,
	lanesOf,
	partsOfStream,
	readAhead,
	type Values,
} from "./row-blocks.ts";
import { mostThreads, ThreadedBlocks, usefulThreads } from "./row-threads.ts";
import type { RecordStream } from "./stream.ts";

export interface RowReaderOptions {
	/** Columns of vectors to read; several lie side by side, and have one type. */
	readonly columns: readonly string[];
	/** Columns of what is to be reconstructed, likewise, where it is something else. */
	readonly targets?: readonly string[] | undefined;
	/** Column of whole numbers that comes with each row, such as `layer`. */
	readonly layers?: string | undefined;
	/** Rows per batch. */
	readonly batchSize: number;
	/**
	 * Rows within which the order is shuffled; 0 keeps the stream's order. Two blocks are held in memory, and two for
	 * each thread that reads.
	 */
	readonly shuffleBlock?: number;
	/** Seed of the shuffle. */
	readonly seed?: number;
	/** Position, in rows of the shuffled order, of the first row to yield. */
	readonly start?: number;
	/** Whether to leave out a last batch of fewer rows. */
	readonly dropShort?: boolean;
	/** Threads that read, where the stream is a file, or a pipe (one); 0: none. By default up to three, where they pay. */
	readonly threads?: number;
}

/** Vectors of several columns side by side, [rows, width]. */
export interface SideBySide extends Vectors {
	/** Of each column; they add up to `width`. */
	readonly widths: readonly number[];
}

/** One batch. Its arrays are reused for the batch after the next: copy or upload them before asking for that one. */
export interface RowBatch extends SideBySide {
	/** Rows before this batch, in the shuffled order: where to start in order to read it again. */
	readonly position: number;
	/** Where they were asked for. */
	readonly targets?: SideBySide;
	/** [rows], where they were asked for. */
	readonly layers?: Uint32Array;
}

/**
 * Reads batches of rows. While a block is handed out, the next one is read: by threads of their own where the stream
 * is a large file or a pipe, which gives the same rows in the same order.
 *
 * Every value is checked: NaN and infinities end in an error, since one of them spoils a whole run.
 *
 * Rows are numbered by the batches' `sae.cursor`, from 0 where there is none. With `start`, rows that come before
 * its block are skipped; a stream that begins after it is an error that says how to start the producer.
 */
export async function* readRows(stream: RecordStream, options: RowReaderOptions): AsyncGenerator<RowBatch> {
	const { batchSize, start = 0, dropShort = false } = options;
	const lanes = lanesOf(options);
	const threads = Math.min(options.threads ?? usefulThreads(stream), mostThreads(stream));
	const layout = layoutOf(options, threads);
	const blocks = openBlocks(stream, options, lanes.all, layout, threads);
	const batches = [new BatchBuffer(lanes.all, batchSize), new BatchBuffer(lanes.all, batchSize)] as const;
	let position = start;
	let turn = 0;
	try {
		for (let from = start - layout.start; ; from = 0) {
			const { rows, data, order } = await blocks.next();
			for (let at = from; at < rows; ) {
				const batch = batches[turn]!;
				const take = Math.min(batchSize - batch.rows, rows - at);
				if (take === batchSize && !order) {
					yield rowBatch(lanes, data, at, take, position);
					position += take;
				} else {
					batch.add(data, order, at, take);
					if (batch.rows === batchSize) {
						yield rowBatch(lanes, batch.arrays, 0, batchSize, position);
						position += batchSize;
						batch.rows = 0;
						turn = 1 - turn;
					}
				}
				at += take;
			}
			if (rows < layout.rows) break;
		}
		const last = batches[turn]!;
		if (last.rows > 0 && !dropShort) yield rowBatch(lanes, last.arrays, 0, last.rows, position);
	} finally {
		blocks.close();
	}
}

/** Rows that go from thread to thread at a time where they are not shuffled, about. */
const THREADED_ROWS = 16384;

function layoutOf({ batchSize, shuffleBlock = 0, seed = 0, start = 0 }: RowReaderOptions, threads: number) {
	if (shuffleBlock === 0) {
		const rows = threads > 0 ? batchSize * Math.ceil(THREADED_ROWS / batchSize) : batchSize;
		return { rows, start, first: 0, seed: undefined };
	}
	// A shuffled block has to be read from its beginning.
	const first = Math.floor(start / shuffleBlock);
	return { rows: shuffleBlock, start: first * shuffleBlock, first, seed };
}

function openBlocks(
	stream: RecordStream,
	{ columns, targets, layers }: RowReaderOptions,
	lanes: readonly Lane[],
	layout: BlockLayout,
	threads: number,
): Blocks {
	// One that is read beside one or, where they are handed out as they are, two in use.
	const held = layout.seed === undefined ? 3 : 2;
	const local = () => readAhead(new LocalBlocks(partsOfStream(stream), lanes, layout, held), layout.rows);
	if (threads === 0 || !stream.input) return local();
	const job = { input: stream.input, columns, targets, layers, layout, threads };
	return new ThreadedBlocks(job, lanes, local);
}

/** Some rows of some arrays. */
function rowBatch(
	{ inputs, targets, layers, all }: Lanes,
	arrays: readonly Values[],
	from: number,
	rows: number,
	position: number,
): RowBatch {
	const part = (lane: Lane) =>
		arrays[all.indexOf(lane)]!.subarray(from * lane.width, (from + rows) * lane.width);
	const vectors = (lane: Lane): SideBySide => ({
		data: part(lane) as Vectors["data"],
		rows,
		width: lane.width,
		widths: lane.widths,
		type: lane.type as VectorType,
	});
	return {
		...vectors(inputs),
		position,
		...(targets && { targets: vectors(targets) }),
		...(layers && { layers: part(layers) as Uint32Array }),
	};
}

/** One batch that is put together; allocated once types and widths are known. */
class BatchBuffer {
	/** Rows that it has so far. */
	rows = 0;
	/** By lane. */
	arrays: readonly Values[] = [];
	readonly #lanes: readonly Lane[];
	readonly #size: number;

	constructor(lanes: readonly Lane[], size: number) {
		this.#lanes = lanes;
		this.#size = size;
	}

	/** Adds `count` rows of a block: from row `from`, in the block's order. */
	add(data: readonly Values[], order: Uint32Array | undefined, from: number, count: number): void {
		if (this.arrays.length === 0) {
			this.arrays = this.#lanes.map(({ type, width }) => allocate(type, this.#size * width));
		}
		for (const [i, { width }] of this.#lanes.entries()) {
			const target = this.arrays[i]!;
			if (order) gatherRows(target, this.rows, data[i]!, width, order, from, count);
			else target.set(data[i]!.subarray(from * width, (from + count) * width), this.rows * width);
		}
		this.rows += count;
	}
}
