/** Rows of plain values as Arrow: metrics, evaluation results. */
import {
	Bool,
	type DataType,
	Field,
	Float64,
	type RecordBatch,
	Schema,
	Utf8,
	vectorFromArray,
} from "apache-arrow";
import { SaeError } from "../errors.ts";
import { META, STREAM_VERSION, type StreamKind } from "../stream.ts";
import { makeBatch } from "./batch.ts";

/** What one cell may hold. Numbers are stored as float64, exact for whole numbers to 2^53. */
export type Cell = number | string | boolean | null;

export type CellType = "number" | "string" | "boolean";

const TYPES: Record<CellType, () => DataType> = {
	number: () => new Float64(),
	string: () => new Utf8(),
	boolean: () => new Bool(),
};

/** The schema of a stream of plain rows: column names in order, with their types. All may be null. */
export function tableSchema(
	columns: Readonly<Record<string, CellType>>,
	kind: StreamKind = "metrics",
	metadata: Readonly<Record<string, string>> = {},
): Schema {
	const fields = Object.entries(columns).map(([name, type]) => new Field(name, TYPES[type](), true));
	const own = { [META.kind]: kind, [META.version]: STREAM_VERSION };
	return new Schema(fields, new Map(Object.entries({ ...metadata, ...own })));
}

/** The columns of rows that are all known: a column's type is that of its first value that is not null. */
export function columnTypes(rows: readonly Readonly<Record<string, Cell>>[]): Record<string, CellType> {
	const columns: Record<string, CellType> = {};
	const empty = new Set<string>();
	for (const row of rows) {
		for (const [name, value] of Object.entries(row)) {
			if (value !== null && (!(name in columns) || empty.delete(name))) {
				columns[name] = typeof value as CellType;
			} else if (!(name in columns)) {
				columns[name] = "number";
				empty.add(name);
			}
		}
	}
	return columns;
}

/** A batch of plain rows. Values that a row lacks are null; other keys than the schema's are an error. */
export function tableBatch(schema: Schema, rows: readonly Readonly<Record<string, Cell>>[]): RecordBatch {
	const names = new Set(schema.fields.map((field) => field.name));
	for (const name of rows.flatMap((row) => Object.keys(row))) {
		if (!names.has(name))
			throw new SaeError(`column ${name} is not in the table's schema (${[...names].join(", ")})`);
	}
	const columns = schema.fields.map(({ name, type }) => {
		const values = rows.map((row) => row[name] ?? null);
		return vectorFromArray(values, type).data[0]!;
	});
	return makeBatch(schema, rows.length, columns);
}
