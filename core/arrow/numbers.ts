/** Takes a column of whole numbers out of a batch, such as the layer of each row. */
import { DataType, type RecordBatch, type Schema } from "apache-arrow";
import { SaeError } from "../errors.ts";

/** Whether there is a column of that name, and of whole numbers. */
export function isNumberColumn(schema: Schema, name: string): boolean {
	return schema.fields.some((field) => field.name === name && DataType.isInt(field.type));
}

/**
 * The numbers of the named column; zero-copy for uint32.
 *
 * @throws SaeError when there is no such column, or it holds anything but whole numbers from 0 to 2³² − 1.
 */
export function numberColumn(batch: RecordBatch, name: string): Uint32Array {
	const index = batch.schema.fields.findIndex((field) => field.name === name);
	const data = batch.data.children[index];
	if (!data) {
		const columns = batch.schema.fields.map((field) => field.name).join(", ");
		throw new SaeError(`no column ${name}; the stream has: ${columns || "none"}`);
	}
	if (!DataType.isInt(data.type)) throw new SaeError(`column ${name}: is ${data.type}, not whole numbers`);
	if (data.nullCount > 0) {
		throw new SaeError(`column ${name}: holds nulls; drop those rows where the stream is made`);
	}
	const values = data.values.subarray(0, data.length);
	if (values instanceof Uint32Array) return values;
	const numbers = new Uint32Array(data.length);
	for (let row = 0; row < numbers.length; row++) {
		const value = Number(values[row]);
		if (value < 0 || value > 0xffffffff)
			throw new SaeError(`column ${name}: holds ${value}; numbers are 0 or more`);
		numbers[row] = value;
	}
	return numbers;
}
