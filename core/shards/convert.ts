/** Brings the vectors of a stream into the form that shards have: lists of one fixed width, of one type of number. */
import { DataType, Field, type FixedSizeList, type RecordBatch, Schema } from "apache-arrow";
import { labelActivations, type VectorType, vectorData, vectorField } from "../arrow/activations.ts";
import { makeBatch } from "../arrow/batch.ts";
import { fixedWidth } from "../arrow/load.ts";
import { findVectorField, vectorColumn } from "../arrow/vectors.ts";
import { SaeError } from "../errors.ts";
import { widened } from "../files/dtype.ts";
import { firstNonFinite } from "../finite.ts";
import { META } from "../stream.ts";

/** What vectors are stored as, by the names that safetensors gives to them. */
export const SHARD_DTYPES = ["f16", "f32"] as const;
export type ShardDtype = (typeof SHARD_DTYPES)[number];

export interface Conversion {
	/** Of the shards. */
	readonly schema: Schema;
	/** The batch with this schema and cursor; `row` is the number of its first row. What needs no change is not copied. */
	convert(batch: RecordBatch, row: number): RecordBatch;
}

/**
 * How to store a stream.
 *
 * @param first its first batch, which knows how wide lists without a fixed width are; none when there are no rows.
 * @param dtype of the vectors; without it, that of the stream (float64 becomes float32).
 */
export function conversionOf(
	schema: Schema,
	first: RecordBatch | undefined,
	dtype: ShardDtype | undefined,
): Conversion {
	const main = findVectorField(schema);
	const fields = schema.fields.map((field) => {
		const isVector = field === main || (isFixed(field.type) && DataType.isFloat(field.type.valueType));
		return isVector ? storedField(field, first, dtype) : field;
	});
	const metadata = Object.fromEntries(schema.metadata);
	const stored = labelActivations(new Schema(fields, new Map(), schema.dictionaries), metadata);
	return {
		schema: stored,
		convert(batch, row) {
			const columns = batch.data.children.map((data, i) =>
				fields[i] === schema.fields[i] ? data : storedVectors(batch, fields[i]!, row),
			);
			const metadata = new Map([...batch.metadata, [META.cursor, String(row)]]);
			return makeBatch(stored, batch.numRows, columns, metadata);
		},
	};
}

/** Bytes that a row takes in a shard, about: columns of text and the like are as long as in `sample`. */
export function bytesPerRow(schema: Schema, sample: RecordBatch | undefined): number {
	let bytes = 0;
	for (const [i, { type }] of schema.fields.entries()) {
		const width = isFixed(type) ? (fixedWidth(type.valueType) ?? 0) * type.listSize : fixedWidth(type);
		const data = sample?.data.children[i];
		bytes += width ?? (data && sample.numRows > 0 ? data.byteLength / sample.numRows : 0);
	}
	return Math.max(1, bytes);
}

/** The field as it is, where its values need no change. */
function storedField(field: Field, first: RecordBatch | undefined, dtype: ShardDtype | undefined): Field {
	const { precision } = (field.type.children[0] as Field).type;
	const own: VectorType = precision === 0 ? "float16" : "float32";
	const type: VectorType = dtype === undefined ? own : dtype === "f16" ? "float16" : "float32";
	if (isFixed(field.type)) {
		if (precision === (type === "float16" ? 0 : 1)) return field;
		const stored = vectorField(field.name, field.type.listSize, type);
		// Its own metadata may say that the vectors are tensors of several dimensions.
		return field.metadata.size > 0 ? new Field(stored.name, stored.type, false, field.metadata) : stored;
	}
	return vectorField(field.name, first ? vectorColumn(first, field.name).width : 0, type);
}

function storedVectors(batch: RecordBatch, field: Field, row: number) {
	const given = vectorColumn(batch, field.name);
	const { rows, width } = given;
	const wanted = (field.type as FixedSizeList).valueType.precision === 0 ? "float16" : "float32";
	if (wanted === given.type) return vectorData(field, given);
	if (wanted === "float32") return vectorData(field, { ...given, data: widened(given.data), type: wanted });
	const halves = new Float16Array(given.data);
	const data = new Uint16Array(halves.buffer);
	const at = firstNonFinite(data);
	if (at >= 0 && Number.isFinite(given.data[at])) {
		throw new SaeError(
			`column ${field.name}: row ${row + Math.floor(at / width)} holds ${given.data[at]}, but float16 ends at 65504; use --dtype f32`,
		);
	}
	return vectorData(field, { data, rows, width, type: wanted });
}

function isFixed(type: DataType): type is FixedSizeList {
	return DataType.isFixedSizeList(type);
}
