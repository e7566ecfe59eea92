/** The order in which the rows of several files are emitted: one after the other, shuffled or not, epoch by epoch. */
import type { RecordBatch, Schema } from "apache-arrow";
import type { Core } from "saeflow";
import { inRuns } from "./runs.ts";
import type { Segment } from "./segments.ts";

export interface RowOrder {
	/** Rows of the joined files that take part: from `begin` to `end`, exclusive. */
	readonly begin: number;
	readonly end: number;
	readonly epochs: number;
	/** Rows within which each epoch is shuffled; 0 keeps the order. */
	readonly shuffleBuffer: number;
	/** Rows that are neighbours before that shuffle, while such runs come in random order; 0 keeps the order. */
	readonly runRows: number;
	readonly seed: number;
	/** Rows emitted in all, at most. */
	readonly limit: number;
	readonly batchRows: number;
}

/** Sets the order of runs apart from those of the blocks, which are numbered from 0. */
const RUNS = 2 ** 52;

/** Rows emitted in all. */
export function emittedRows({ begin, end, epochs, limit }: RowOrder): number {
	return Math.min(limit, (end - begin) * epochs);
}

/** The batches from emitted row `start` on, each with its row number (cursor) and, when shuffled, the seed. */
export async function* emit(
	core: Core,
	schema: Schema,
	segments: readonly Segment[],
	order: RowOrder,
	start: number,
): AsyncGenerator<RecordBatch> {
	const total = emittedRows(order);
	const perEpoch = order.end - order.begin;
	const { META } = core;
	const seed: [string, string][] = order.shuffleBuffer > 0 ? [[META.seed, String(order.seed)]] : [];
	let row = start;
	while (row < total) {
		const epoch = Math.floor(row / perEpoch);
		const rows = order.shuffleBuffer > 0 ? shuffledEpoch : plainEpoch;
		for await (const batch of rows(core, segments, order, epoch, row - epoch * perEpoch)) {
			const wanted = core.sliceBatch(batch, 0, Math.min(batch.numRows, total - row));
			const metadata = new Map([...wanted.metadata, [META.cursor, String(row)], ...seed]);
			yield core.relabelBatch(wanted, schema, metadata);
			row += wanted.numRows;
			if (row === total) return;
		}
		if (row < (epoch + 1) * perEpoch) {
			throw new core.SaeError(`the files have fewer rows than they had when they were opened; start again`);
		}
	}
}

/** The rows of one epoch from its row `start` on. */
function plainEpoch(
	core: Core,
	segments: readonly Segment[],
	order: RowOrder,
	_epoch: number,
	start: number,
) {
	return joined(core, segments, order.begin + start, order.end);
}

async function* shuffledEpoch(
	core: Core,
	segments: readonly Segment[],
	order: RowOrder,
	epoch: number,
	start: number,
): AsyncGenerator<RecordBatch> {
	const { begin, end, shuffleBuffer, runRows, seed, batchRows } = order;
	const rng = new core.CounterRng(seed).derive(epoch);
	let block = Math.floor(start / shuffleBuffer);
	let skip = start - block * shuffleBuffer;
	const first = block * shuffleBuffer;
	const rows =
		runRows > 0
			? inRuns(core, segments, order, rng.derive(RUNS), first)
			: joined(core, segments, begin + first, end);
	for await (const batches of blocks(core, rows, shuffleBuffer)) {
		const count = batches.reduce((sum, batch) => sum + batch.numRows, 0);
		const shuffled = core.permutation(rng.derive(block), count);
		for (let at = skip; at < count; at += batchRows) {
			yield core.takeRows(batches, shuffled.subarray(at, at + batchRows));
		}
		skip = 0;
		block++;
	}
}

/** Rows `from` to `to` (exclusive) of the files taken as one. */
async function* joined(
	core: Core,
	segments: readonly Segment[],
	from: number,
	to: number,
): AsyncGenerator<RecordBatch> {
	let first = 0;
	for (const segment of segments) {
		const after = first + segment.rows;
		if (from < after && first < to) {
			let row = Math.max(from, first);
			for await (const batch of segment.batches(row - first)) {
				const wanted = core.sliceBatch(batch, 0, Math.min(batch.numRows, to - row));
				if (wanted.numRows > 0) yield wanted;
				row += wanted.numRows;
				if (row >= to) break;
			}
		}
		first = after;
	}
}

/** Groups batches, cut where needed, so that each group has `rows` rows; the last may have fewer. */
async function* blocks(
	core: Core,
	batches: AsyncIterable<RecordBatch>,
	rows: number,
): AsyncGenerator<RecordBatch[]> {
	let group: RecordBatch[] = [];
	let held = 0;
	for await (const batch of batches) {
		for (let at = 0; at < batch.numRows; ) {
			const piece = core.sliceBatch(batch, at, Math.min(batch.numRows, at + rows - held));
			group.push(piece);
			held += piece.numRows;
			at += piece.numRows;
			if (held === rows) {
				yield group;
				group = [];
				held = 0;
			}
		}
	}
	if (held > 0) yield group;
}
