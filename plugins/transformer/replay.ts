/** Rows that come several times: the model runs once, and what it gave is kept in memory. */
import type { RecordBatch } from "apache-arrow";
import type { Core } from "saeflow";

/** The rows from number `start` on, of `epochs` times those that `once` gives. */
export async function* replayed(
	core: Core,
	once: () => AsyncIterable<RecordBatch>,
	epochs: number,
	start: number,
): AsyncGenerator<RecordBatch> {
	const kept: RecordBatch[] = [];
	let row = 0;
	const placed = (batch: RecordBatch) => {
		const skipped = Math.min(batch.numRows, Math.max(0, start - row));
		const metadata = new Map([...batch.metadata, [core.META.cursor, String(row + skipped)]]);
		row += batch.numRows;
		return core.relabelBatch(core.sliceBatch(batch, skipped), batch.schema, metadata);
	};
	for await (const batch of once()) {
		kept.push(batch);
		const own = placed(batch);
		if (own.numRows > 0) yield own;
	}
	for (let epoch = 1; epoch < epochs; epoch++) {
		for (const batch of kept) {
			const own = placed(batch);
			if (own.numRows > 0) yield own;
		}
	}
	if (start > row) throw core.usageError(`--start ${start}: there are only ${row} rows`);
}
