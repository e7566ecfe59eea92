/** Sparse codes as the column `latents`: List<Struct<index uint32, value float32>>, one list per row. */
import {
	type Data,
	DataType,
	Field,
	Float32,
	List,
	makeData,
	type RecordBatch,
	Schema,
	Struct,
	Uint32,
} from "apache-arrow";
import { SaeError } from "../errors.ts";
import type { Codes } from "../sae.ts";
import { META, STREAM_VERSION } from "../stream.ts";
import { makeBatch } from "./batch.ts";

const COLUMN = "latents";
const ENTRY = new Struct<{ index: Uint32; value: Float32 }>([
	new Field("index", new Uint32(), false),
	new Field("value", new Float32(), false),
]);

/** The schema of a latents stream; `others` are the rows' further columns, which pass through. */
export function latentsSchema(
	others: readonly Field[] = [],
	metadata: Iterable<readonly [string, string]> = [],
): Schema {
	const field = new Field(COLUMN, new List(new Field("item", ENTRY, false)), false);
	const own: [string, string][] = [
		[META.kind, "latents"],
		[META.version, STREAM_VERSION],
	];
	return new Schema([field, ...others], new Map([...metadata, ...own]));
}

/**
 * A batch over the arrays of `codes`, which it does not copy.
 *
 * @param from the batch whose other columns and metadata the rows keep.
 */
export function latentsBatch(schema: Schema, codes: Codes, from?: RecordBatch): RecordBatch {
	const entries = codes.offsets[codes.rows] ?? 0;
	const common = { length: entries, nullCount: 0 };
	const child = makeData({
		...common,
		type: ENTRY,
		children: [
			makeData({ ...common, type: new Uint32(), data: codes.index.subarray(0, entries) }),
			makeData({ ...common, type: new Float32(), data: codes.value.subarray(0, entries) }),
		],
	});
	const { buffer, byteOffset } = codes.offsets;
	const latents = makeData({
		type: schema.fields[0]!.type as List,
		length: codes.rows,
		nullCount: 0,
		valueOffsets: new Int32Array(buffer, byteOffset, codes.rows + 1),
		child,
	});
	const others = schema.fields.slice(1).map(({ name }) => {
		const index = from?.schema.fields.findIndex((field) => field.name === name) ?? -1;
		const data = from?.data.children[index];
		if (!data) throw new SaeError(`column ${name} of the latents stream is missing from its source`);
		return data;
	});
	return makeBatch(schema, codes.rows, [latents, ...others], new Map(from?.metadata));
}

/** The codes of a latents batch, zero-copy but for the offsets of a slice. */
export function codesOf(batch: RecordBatch): Codes {
	const index = batch.schema.fields.findIndex((field) => field.name === COLUMN);
	const latents = batch.data.children[index];
	const entries = latents?.children[0];
	const indices = member(entries, "index");
	const values = member(entries, "value");
	if (
		!latents ||
		!DataType.isList(latents.type) ||
		!(indices?.values instanceof Uint32Array) ||
		!(values?.values instanceof Float32Array)
	) {
		throw new SaeError(
			`not a latents stream: it needs the column ${COLUMN}, List<Struct<index uint32, value float32>>, as \`sae encode\` writes`,
		);
	}
	if (latents.nullCount + (entries?.nullCount ?? 0) + indices.nullCount + values.nullCount > 0) {
		throw new SaeError(`column ${COLUMN}: holds nulls; use an empty list for a row without latents`);
	}
	const offsets = latents.valueOffsets as Int32Array;
	const start = offsets[0] ?? 0;
	const end = offsets[latents.length] ?? start;
	const own = new Uint32Array(latents.length + 1);
	for (let row = 1; row < own.length; row++) own[row] = offsets[row]! - start;
	return {
		rows: latents.length,
		offsets: own,
		index: indices.values.subarray(start, end),
		value: values.values.subarray(start, end),
	};
}

function member(struct: Data | undefined, name: string): Data | undefined {
	const fields: readonly Field[] = struct?.type.children ?? [];
	return struct?.children[fields.findIndex((field) => field.name === name)];
}
