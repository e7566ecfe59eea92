/** Takes the vectors out of a batch, from whatever shape the program that made it gave them. */
import { type Data, DataType, type Field, Precision, type RecordBatch, type Schema } from "apache-arrow";
import { SaeError } from "../errors.ts";
import type { Vectors } from "./activations.ts";

/** What vectors may be made of in other programs' data; stored as float32 or float16. */
type Items = Float32Array | Float64Array | Uint16Array;

/**
 * The vectors of the named column. Zero-copy for FixedSizeList<float32 or float16>; FixedSizeList<float64>, and
 * List and LargeList whose rows all have the same length, as polars and DuckDB write, are accepted too: float64
 * is converted to float32, the rest is not copied.
 *
 * @throws SaeError when there is no such column, it is not a column of vectors, holds nulls, or its rows differ
 * in length.
 */
export function vectorColumn(batch: RecordBatch, name: string): Vectors {
	const index = batch.schema.fields.findIndex((field) => field.name === name);
	const data = batch.data.children[index];
	if (!data) throw noSuchColumn(batch.schema, name);
	const child = data.children[0];
	if (!isList(data.type) || !child || !DataType.isFloat(child.type)) throw notVectors(name, data.type);
	if (data.nullCount > 0 || child.nullCount > 0) {
		throw new SaeError(`column ${name}: holds nulls; drop those rows where the stream is made`);
	}
	const rows = data.length;
	const { start, width } = DataType.isFixedSizeList(data.type)
		? { start: 0, width: data.type.listSize }
		: uniformLists(data, name);
	// A buffer may be longer than what is used of it, and a slice may begin within it.
	const values = (child.values as Items).subarray(start, start + rows * width);
	if (values.length < rows * width) throw new SaeError(`column ${name}: has fewer values than rows × width`);
	if (values instanceof Float64Array) return { data: new Float32Array(values), rows, width, type: "float32" };
	const type = child.type.precision === Precision.HALF ? "float16" : "float32";
	return { data: values, rows, width, type };
}

/**
 * The field of the column to use: the named one, or, without a name, `activation` or else the only column of
 * vectors.
 */
export function findVectorField(schema: Schema, name?: string): Field {
	if (name !== undefined) {
		const field = schema.fields.find((candidate) => candidate.name === name);
		if (!field) throw noSuchColumn(schema, name);
		if (!isVectorType(field.type)) throw notVectors(name, field.type);
		return field;
	}
	const candidates = vectorFields(schema);
	const field = candidates.find((candidate) => candidate.name === "activation") ?? candidates[0];
	if (!field) throw new SaeError(`no column holds vectors of floats; there are: ${columnList(schema)}`);
	if (candidates.length > 1 && field.name !== "activation") {
		const names = candidates.map((candidate) => candidate.name).join(", ");
		throw new SaeError(`several columns hold vectors (${names}); say which with --column`);
	}
	return field;
}

/** The columns of vectors of floats. */
export function vectorFields(schema: Schema): Field[] {
	return schema.fields.filter((field) => isVectorType(field.type));
}

function isList(type: DataType): boolean {
	return DataType.isFixedSizeList(type) || DataType.isList(type) || DataType.isLargeList(type);
}

function isVectorType(type: DataType): boolean {
	return isList(type) && DataType.isFloat(type.children[0]?.type);
}

/** Where the values of lists of one length begin, and that length. */
function uniformLists(data: Data, name: string): { start: number; width: number } {
	const offsets = data.valueOffsets as Int32Array | BigInt64Array;
	const start = Number(offsets[0] ?? 0);
	const width = data.length === 0 ? 0 : Number(offsets[1]) - start;
	for (let row = 0; row < data.length; row++) {
		const length = Number(offsets[row + 1]) - Number(offsets[row]);
		if (length !== width) {
			throw new SaeError(
				`column ${name}: row ${row} has ${length} values, the first one ${width}; vectors need one width`,
			);
		}
	}
	return { start, width };
}

function noSuchColumn(schema: Schema, name: string): SaeError {
	return new SaeError(`no column ${name}; the stream has: ${columnList(schema)}`);
}

function notVectors(name: string, type: DataType): SaeError {
	return new SaeError(
		`column ${name}: is ${type}; vectors are FixedSizeList or List of float16, float32 or float64`,
	);
}

function columnList(schema: Schema): string {
	return schema.fields.map((field) => `${field.name} (${field.type})`).join(", ") || "none";
}
