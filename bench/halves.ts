/** Makes two columns out of one: what has known features then has known parts of them in either. */
import { type RecordBatch, Schema } from "apache-arrow";
import { vectorData, vectorField } from "../core/arrow/activations.ts";
import { makeBatch } from "../core/arrow/batch.ts";
import { openArrow } from "../core/arrow/reader.ts";
import { findVectorField, vectorColumn } from "../core/arrow/vectors.ts";
import { writeArrowFile } from "../core/arrow/writer.ts";
import { openTensorFile } from "../core/files/open.ts";
import { readFloat32, writeSafetensors } from "../core/files/safetensors.ts";

export const HALVES = ["first", "second"] as const;

/** Rows of 2·`width` float32 values, as two columns of `width` each, called {@link HALVES}. */
export async function cutRows(from: string, to: string, width: number): Promise<void> {
	const stream = await openArrow(from);
	const { name } = findVectorField(stream.schema);
	const fields = HALVES.map((half) => vectorField(half, width, "float32"));
	const schema = new Schema(fields, stream.schema.metadata);
	async function* batches(): AsyncGenerator<RecordBatch> {
		for await (const batch of stream.batches) {
			const { data, rows } = vectorColumn(batch, name);
			const columns = fields.map((field, half) =>
				vectorData(field, { data: cut(data as Float32Array, width, half), rows, width, type: "float32" }),
			);
			yield makeBatch(schema, rows, columns, batch.metadata);
		}
	}
	await writeArrowFile({ schema, batches: batches() }, to);
}

/** Of known features [n, 2·`width`], the second halves. */
export async function secondHalves(from: string, to: string, width: number): Promise<void> {
	const file = await openTensorFile(from);
	const data = cut(await readFloat32(file, "features"), width, 1);
	await file.close();
	await writeSafetensors(to, [{ name: "features", dtype: "f32", shape: [data.length / width, width], data }]);
}

function cut(rows: Float32Array, width: number, half: number): Float32Array {
	const part = new Float32Array(rows.length / 2);
	for (let at = 0; at < part.length; at += width) {
		const first = 2 * at + half * width;
		part.set(rows.subarray(first, first + width), at);
	}
	return part;
}
