/** Arrow schemas as Parquet's: which physical type holds a column, and how lists and structs nest. */
import { DataType, type Field, Precision, RecordBatchStreamWriter, type Schema } from "apache-arrow";
import type { KeyValue, SchemaElement } from "hyparquet";
import { SaeError } from "../errors.ts";

type Leaf = Omit<SchemaElement, "name" | "repetition_type">;

/** The elements of a schema in Parquet's order, each column before its children. */
export function parquetElements(schema: Schema): SchemaElement[] {
	const columns = schema.fields.flatMap((field) => elementsOf(field, field.name));
	return [{ name: "schema", num_children: schema.fields.length }, ...columns];
}

/**
 * The stream's metadata by its own keys, for any reader, and the Arrow schema as Arrow's libraries keep it in Parquet
 * files, so that they read the same types back: vectors of one width, extensions.
 */
export function parquetMetadata(schema: Schema): KeyValue[] {
	const writer = new RecordBatchStreamWriter();
	writer.reset(undefined, schema);
	writer.finish();
	const message = Buffer.from(writer.toUint8Array(true)).toString("base64");
	const pairs = [...schema.metadata].map(([key, value]) => ({ key, value }));
	return [...pairs, { key: "ARROW:schema", value: message }];
}

/** @param column the column that an error names. */
function elementsOf(field: Field, column: string, name = field.name): SchemaElement[] {
	const repetition_type = field.nullable ? "OPTIONAL" : "REQUIRED";
	const { type } = field;
	if (isListType(type)) {
		const item: Field = type.children[0]!;
		// The storage of Arrow's extensions has items that may be null, else the extension is not read back.
		const stored = field.metadata.has("ARROW:extension:name") ? item.clone({ nullable: true }) : item;
		return [
			{ name, repetition_type, converted_type: "LIST", logical_type: { type: "LIST" }, num_children: 1 },
			{ name: "list", repetition_type: "REPEATED", num_children: 1 },
			...elementsOf(stored, column, "element"),
		];
	}
	if (DataType.isStruct(type)) {
		const members = type.children.flatMap((child: Field) => elementsOf(child, column));
		return [{ name, repetition_type, num_children: type.children.length }, ...members];
	}
	const leaf = leafOf(DataType.isDictionary(type) ? type.dictionary : type);
	if (!leaf) {
		throw new SaeError(
			`column ${column}: values of the type ${type} are not written as Parquet; drop it, or write --format arrow`,
		);
	}
	return [{ name, repetition_type, ...leaf }];
}

/** Lists, of fixed length or not. */
export function isListType(type: DataType): boolean {
	return DataType.isList(type) || DataType.isLargeList(type) || DataType.isFixedSizeList(type);
}

function leafOf(type: DataType): Leaf | undefined {
	if (DataType.isBool(type)) return { type: "BOOLEAN" };
	if (DataType.isUtf8(type) || DataType.isLargeUtf8(type)) {
		return { type: "BYTE_ARRAY", converted_type: "UTF8", logical_type: { type: "STRING" } };
	}
	if (DataType.isBinary(type) || DataType.isLargeBinary(type)) return { type: "BYTE_ARRAY" };
	if (DataType.isFloat(type)) {
		if (type.precision === Precision.DOUBLE) return { type: "DOUBLE" };
		if (type.precision === Precision.SINGLE) return { type: "FLOAT" };
		return { type: "FIXED_LEN_BYTE_ARRAY", type_length: 2, logical_type: { type: "FLOAT16" } };
	}
	if (DataType.isInt(type)) {
		return {
			type: type.bitWidth === 64 ? "INT64" : "INT32",
			converted_type: `${type.isSigned ? "" : "U"}INT_${type.bitWidth}`,
		};
	}
	return undefined;
}
