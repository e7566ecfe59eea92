/** Makes record batches out of columns and of other batches; no values are copied. */
import { type Data, makeData, RecordBatch, type Schema, Struct } from "apache-arrow";

/** A batch of `rows` rows from the data of its columns. */
export function makeBatch(
	schema: Schema,
	rows: number,
	columns: readonly Data[],
	metadata: Map<string, string> = new Map(),
): RecordBatch {
	const type = new Struct(schema.fields);
	const data = makeData({ type, length: rows, nullCount: 0, children: columns as Data[] });
	return new RecordBatch(schema, data, metadata);
}

/** Rows `start` to `end` (exclusive). Unlike `RecordBatch.slice` it keeps the batch's metadata. */
export function sliceBatch(batch: RecordBatch, start: number, end = batch.numRows): RecordBatch {
	if (start === 0 && end === batch.numRows) return batch;
	const columns = batch.data.children.map((column) => column.slice(start, end - start));
	return makeBatch(batch.schema, end - start, columns, batch.metadata);
}

/** The same rows in another stream: with its schema, whose columns must be the batch's, and other metadata. */
export function relabelBatch(batch: RecordBatch, schema: Schema, metadata: Map<string, string>): RecordBatch {
	return makeBatch(schema, batch.numRows, batch.data.children, metadata);
}
