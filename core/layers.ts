/** Rows of some layers alone, out of a source that has several. */
import type { RecordBatch } from "apache-arrow";
import { relabelBatch } from "./arrow/batch.ts";
import { isNumberColumn, numberColumn } from "./arrow/numbers.ts";
import { takeRows } from "./arrow/take.ts";
import { LAYER_COLUMN } from "./columns.ts";
import { SaeError, usageError } from "./errors.ts";
import type { ActivationSource } from "./plugin.ts";
import { META } from "./stream.ts";

/**
 * The rows of these layers, by the column `layer`, in the source's order and numbered anew from 0, so that training on
 * them can be resumed.
 *
 * @throws SaeError when there is no such column; reading, when no row is of any of the layers.
 */
export function keepLayers(source: ActivationSource, layers: readonly number[]): ActivationSource {
	if (!isNumberColumn(source.schema, LAYER_COLUMN)) {
		const columns = source.schema.fields.map(({ name }) => name).join(", ");
		throw new SaeError(
			`--layers needs a column ${LAYER_COLUMN} of whole numbers; the source has: ${columns}`,
		);
	}
	return {
		schema: source.schema,
		batches: (start) => keptRows(source, new Set(layers), start),
	};
}

async function* keptRows(
	source: ActivationSource,
	layers: ReadonlySet<number>,
	start: number,
): AsyncGenerator<RecordBatch> {
	let kept = 0;
	// Only who has seen the rows before knows which number a row has.
	for await (const batch of source.batches(0)) {
		const own = numberColumn(batch, LAYER_COLUMN);
		const order = Uint32Array.from(own.keys()).filter((row) => layers.has(own[row]!));
		const rows = order.subarray(Math.min(order.length, Math.max(0, start - kept)));
		const first = kept + order.length - rows.length;
		kept += order.length;
		if (rows.length === 0) continue;
		const taken = rows.length === batch.numRows ? batch : takeRows([batch], rows);
		yield relabelBatch(taken, source.schema, new Map([...batch.metadata, [META.cursor, String(first)]]));
	}
	if (kept === 0) throw new SaeError(`no row is of layer ${[...layers].join(", ")}`);
	if (start > kept) throw usageError(`--start ${start}: there are only ${kept} rows of these layers`);
}
