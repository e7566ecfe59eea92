/** Columns of Arrow batches as the nested arrays and objects that the Parquet writer takes. */
import { type Data, DataType, Vector } from "apache-arrow";
import { isListType } from "./parquet-schema.ts";

/** The values of a column, one per row; null where there is none. Numbers without nulls are not copied. */
export function columnValues(data: Data): ArrayLike<unknown> {
	if (isListType(data.type)) return lists(data);
	if (DataType.isStruct(data.type)) return structs(data);
	if (data.nullCount === 0 && isPlain(data.type)) return data.values.subarray(0, data.length);
	const vector = new Vector([data]);
	return Array.from({ length: data.length }, (_, row) => vector.get(row));
}

/** Types whose values are what their buffer holds. */
function isPlain(type: DataType): boolean {
	if (DataType.isFloat(type)) return type.ArrayType !== Uint16Array;
	return DataType.isInt(type);
}

function lists(data: Data): unknown[] {
	const ranges = rangesOf(data);
	const items = columnValues(data.children[0]!);
	const between = (start: number, end: number) => Array.prototype.slice.call(items, start, end);
	return Array.from({ length: data.length }, (_, row) =>
		data.getValid(row) ? between(ranges(row), ranges(row + 1)) : null,
	);
}

function structs(data: Data): unknown[] {
	const members = data.type.children.map(
		({ name }: { readonly name: string }, i: number) => [name, columnValues(data.children[i]!)] as const,
	);
	return Array.from({ length: data.length }, (_, row) =>
		data.getValid(row)
			? Object.fromEntries(members.map(([name, values]: (typeof members)[number]) => [name, values[row]]))
			: null,
	);
}

/** Where in a list's items each row's begin. */
function rangesOf(data: Data): (row: number) => number {
	if (DataType.isFixedSizeList(data.type)) {
		const { listSize } = data.type;
		return (row) => row * listSize;
	}
	const offsets = data.valueOffsets as Int32Array | BigInt64Array;
	return (row) => Number(offsets[row]);
}

/** How many single values rows `start` to `end` (exclusive) hold, in all that is nested. */
export function leafCount(data: Data, start = 0, end = data.length): number {
	if (isListType(data.type)) {
		const range = rangesOf(data);
		return leafCount(data.children[0]!, range(start), range(end));
	}
	if (DataType.isStruct(data.type)) {
		return data.children.reduce((sum, child) => sum + leafCount(child, start, end), 0);
	}
	return end - start;
}
