/** Builds batches of activations: a vector column, and what is known about where each row came from. */
import {
	type Data,
	DataType,
	Field,
	FixedSizeList,
	Float16,
	Float32,
	makeData,
	type RecordBatch,
	Schema,
	Uint16,
	Uint32,
} from "apache-arrow";
import { SaeError } from "../errors.ts";
import { META, STREAM_VERSION } from "../stream.ts";
import { makeBatch } from "./batch.ts";

/** How the values of a vector column are stored in a stream. */
export type VectorType = "float32" | "float16";

/** Vectors of one width, row-major. Float16 values are given by their bits. */
export interface Vectors {
	readonly data: Float32Array | Uint16Array;
	readonly rows: number;
	readonly width: number;
	readonly type: VectorType;
}

/** Optional columns of an activations stream, with their Arrow types. */
const ROW_COLUMNS = { token: Uint32, document: Uint32, position: Uint32, layer: Uint16 } as const;

export type RowColumn = keyof typeof ROW_COLUMNS;

/** The schema of an activations stream whose column `activation` has vectors of `width`. */
export function activationsSchema(spec: {
	readonly width: number;
	readonly type: VectorType;
	readonly columns?: readonly RowColumn[];
	/** Further schema metadata; keys are listed in `META`. */
	readonly metadata?: Readonly<Record<string, string>>;
	readonly column?: string;
}): Schema {
	const column = spec.column ?? "activation";
	const fields: Field[] = [vectorField(column, spec.width, spec.type)];
	for (const name of spec.columns ?? []) fields.push(new Field(name, new ROW_COLUMNS[name](), false));
	return labelActivations(new Schema(fields), spec.metadata);
}

/** The schema as that of an activations stream: its own metadata, then `metadata`, then kind, version and widths. */
export function labelActivations(schema: Schema, metadata: Readonly<Record<string, string>> = {}): Schema {
	const lists = schema.fields.filter((field) => DataType.isFixedSizeList(field.type));
	const widths = Object.fromEntries(lists.map(({ name, type }) => [name, (type as FixedSizeList).listSize]));
	const own = {
		[META.kind]: "activations",
		[META.version]: STREAM_VERSION,
		[META.width]: JSON.stringify(widths),
	};
	const all = new Map([...schema.metadata, ...Object.entries({ ...metadata, ...own })]);
	return new Schema(schema.fields, all, schema.dictionaries);
}

/** A field of vectors that pyarrow shows as a fixed-shape tensor. */
export function vectorField(name: string, width: number, type: VectorType): Field {
	const item = new Field("item", type === "float16" ? new Float16() : new Float32(), false);
	const extension = new Map([
		["ARROW:extension:name", "arrow.fixed_shape_tensor"],
		["ARROW:extension:metadata", JSON.stringify({ shape: [width] })],
	]);
	return new Field(name, new FixedSizeList(width, item), false, extension);
}

/**
 * A batch over the given arrays, which it does not copy.
 *
 * @param schema from {@link activationsSchema}; its first field takes `vectors`.
 * @param columns the schema's other columns by name, one value per row.
 * @param cursor row number of the first row, in the producer's order.
 */
export function activationsBatch(
	schema: Schema,
	vectors: Vectors,
	columns: Partial<Record<RowColumn, Uint32Array | Uint16Array>> = {},
	cursor?: number,
): RecordBatch {
	const [field, ...others] = schema.fields as [Field, ...Field[]];
	const children = [vectorData(field, vectors)];
	for (const { name, type } of others) {
		const data = columns[name as RowColumn];
		if (data?.length !== vectors.rows) {
			throw new SaeError(`column ${name} needs ${vectors.rows} values, but has ${data?.length ?? "none"}`);
		}
		children.push(makeData({ type, length: vectors.rows, nullCount: 0, data } as never));
	}
	const metadata = new Map(cursor === undefined ? [] : [[META.cursor, String(cursor)]]);
	return makeBatch(schema, vectors.rows, children, metadata);
}

/** The data of a column of vectors, over the given array. */
export function vectorData(field: Field, { data, rows, width, type }: Vectors): Data {
	const list = field.type as FixedSizeList;
	const isFloat16 = list.valueType.precision === 0;
	if (list.listSize !== width || isFloat16 !== (type === "float16") || data.length < rows * width) {
		throw new SaeError(
			`column ${field.name} holds ${list}, but ${data.length} ${type} values for ${rows} rows of ${width} were given`,
		);
	}
	const values = data.length === rows * width ? data : data.subarray(0, rows * width);
	const child = makeData({ type: list.valueType, length: rows * width, nullCount: 0, data: values });
	return makeData({ type: list, length: rows, nullCount: 0, child });
}
