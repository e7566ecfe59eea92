/** Turns a stream of batches of any size into training batches of one size, shuffled and resumable. */
import type { Vectors, VectorType } from "./arrow/activations.ts";
import { gatherRows } from "./gather.ts";
import { CounterRng } from "./random.ts";
import { allocate, BlockSource, Lane, NO_BLOCK, type Values } from "./row-blocks.ts";
import { permutation } from "./shuffle.ts";
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
	/** Rows within which the order is shuffled; 0 keeps the stream's order. Two blocks are held in memory. */
	readonly shuffleBlock?: number;
	/** Seed of the shuffle. */
	readonly seed?: number;
	/** Position, in rows of the shuffled order, of the first row to yield. */
	readonly start?: number;
	/** Whether to leave out a last batch of fewer rows. */
	readonly dropShort?: boolean;
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
 * Reads batches of rows. While a block is handed out, the next one is read.
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
	const lanes = lanesOf(options);
	const source = new BlockSource(stream, lanes.all, blockRows, origin);
	try {
		const batches: [BatchBuffer, BatchBuffer] = [new BatchBuffer(lanes), new BatchBuffer(lanes)];
		let position = start;
		let filled = 0;
		let turn = 0;
		let pending = source.next();
		for (let block = firstBlock; ; block++) {
			const { rows, data } = await pending;
			if (rows === 0) break;
			// Ends early where a block is short: that is the last one.
			pending = rows === blockRows ? source.next() : Promise.resolve(NO_BLOCK);
			pending.catch(() => {});
			const order = shuffled ? permutation(rng.derive(block), rows) : undefined;
			for (let at = block === firstBlock ? start - origin : 0; at < rows; ) {
				const take = Math.min(batchSize - filled, rows - at);
				for (const [i, target] of batches[turn]!.arrays(batchSize).entries()) {
					const { width } = lanes.all[i]!;
					const values = data[i]!;
					if (order) gatherRows(target, filled, values, width, order, at, take);
					else target.set(values.subarray(at * width, (at + take) * width), filled * width);
				}
				filled += take;
				at += take;
				if (filled === batchSize) {
					yield batches[turn]!.rows(filled, position);
					position += filled;
					filled = 0;
					turn = 1 - turn;
				}
			}
		}
		if (filled > 0 && !dropShort) yield batches[turn]!.rows(filled, position);
	} finally {
		source.close();
	}
}

interface Lanes {
	readonly inputs: Lane;
	readonly targets: Lane | undefined;
	readonly layers: Lane | undefined;
	readonly all: readonly Lane[];
}

function lanesOf({ columns, targets, layers }: RowReaderOptions): Lanes {
	const lanes = {
		inputs: new Lane(columns, "vectors"),
		targets: targets && new Lane(targets, "vectors"),
		layers: layers === undefined ? undefined : new Lane([layers], "numbers"),
	};
	return { ...lanes, all: Object.values(lanes).filter((lane) => lane !== undefined) };
}

/** Holds one batch; allocated once types and widths are known. */
class BatchBuffer {
	readonly #lanes: Lanes;
	#arrays: readonly Values[] = [];

	constructor(lanes: Lanes) {
		this.#lanes = lanes;
	}

	/** By lane. */
	arrays(rows: number): readonly Values[] {
		if (this.#arrays.length === 0) {
			this.#arrays = this.#lanes.all.map(({ type, width }) => allocate(type, rows * width));
		}
		return this.#arrays;
	}

	rows(rows: number, position: number): RowBatch {
		const { inputs, targets, layers, all } = this.#lanes;
		const part = (lane: Lane) => this.#arrays[all.indexOf(lane)]!.subarray(0, rows * lane.width);
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
}
