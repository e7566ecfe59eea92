/**
 * Writes streams as Parquet, row group by row group, so that no more than one is in memory. Nested columns are lists
 * and structs of Parquet's own, which other programs read as such.
 */
import { zstdCompressSync } from "node:zlib";
import type { Data, RecordBatch, Schema } from "apache-arrow";
import { ByteWriter, ParquetWriter as RowGroupWriter } from "hyparquet-writer";
import { SaeError } from "../errors.ts";
import { sliceBatch } from "./batch.ts";
import { parquetElements, parquetMetadata } from "./parquet-schema.ts";
import { columnValues, leafCount } from "./parquet-values.ts";
import type { ByteSink } from "./writer.ts";

/** Single values of a row group: enough that readers skip by group cheaply, few enough for the writer's arrays. */
const GROUP_VALUES = 2 ** 21;

/** Writes one file, batch by batch. `end` must be called for readers to accept it. */
export class ParquetWriter {
	readonly #schema: Schema;
	readonly #writer: RowGroupWriter;
	#waiting: RecordBatch[] = [];
	#values = 0;

	/** @throws SaeError for a column of a type that Parquet files don't get. */
	constructor(schema: Schema, sink: ByteSink) {
		this.#schema = schema;
		this.#writer = new RowGroupWriter({
			writer: new SinkWriter(sink),
			schema: parquetElements(schema),
			codec: "ZSTD",
			compressors: { ZSTD: (bytes) => zstdCompressSync(bytes) },
			kvMetadata: parquetMetadata(schema),
			createdBy: "saeflow",
		});
	}

	/** Takes a batch, which is written with others as soon as there is enough for a row group. */
	async write(batch: RecordBatch): Promise<void> {
		for (const piece of pieces(batch)) {
			const values = batchValues(piece);
			if (this.#values + values > GROUP_VALUES) await this.#flush();
			this.#waiting.push(piece);
			this.#values += values;
		}
	}

	/** Writes what is left, and the footer. */
	async end(): Promise<void> {
		await this.#flush();
		await this.#writer.finish();
	}

	async #flush(): Promise<void> {
		const batches = this.#waiting;
		this.#waiting = [];
		this.#values = 0;
		const rows = batches.reduce((sum, { numRows }) => sum + numRows, 0);
		if (rows === 0) return;
		const columnData = this.#schema.fields.map(({ name, nullable }, i) => {
			const data = joined(batches.map((batch) => columnValues(batch.data.children[i]!)));
			if (!nullable && batches.some((batch) => batch.data.children[i]!.nullCount > 0)) {
				throw new SaeError(`column ${name}: holds nulls, which its schema excludes`);
			}
			return { name, data };
		});
		await this.#writer.write({ columnData, rowGroupSize: rows });
	}
}

function joined(columns: readonly ArrayLike<unknown>[]): unknown[] {
	return columns.flatMap((values) => Array.from(values));
}

/** A batch in parts of a row group or less, where single rows are not more. */
function* pieces(batch: RecordBatch): Generator<RecordBatch> {
	const count = Math.max(1, Math.ceil(batchValues(batch) / GROUP_VALUES));
	const rows = Math.max(1, Math.ceil(batch.numRows / count));
	for (let from = 0; from < batch.numRows; from += rows) {
		yield sliceBatch(batch, from, Math.min(from + rows, batch.numRows));
	}
}

function batchValues({ data }: RecordBatch): number {
	return data.children.reduce((sum: number, column: Data) => sum + leafCount(column), 0);
}

/** Passes on what was written whenever a row group is done. */
class SinkWriter extends ByteWriter {
	readonly #sink: ByteSink;

	constructor(sink: ByteSink) {
		super();
		this.#sink = sink;
	}

	async flush(): Promise<void> {
		const bytes = this.getBytes().slice();
		this.index = 0;
		await this.#sink.write(bytes);
	}

	override finish(): Promise<void> {
		return this.flush();
	}
}
