/** Small streams for tests. */
import { DataType, Field, type RecordBatch, Schema, Uint16, vectorFromArray } from "apache-arrow";
import {
	activationsBatch,
	activationsSchema,
	type VectorType,
	vectorData,
	vectorField,
} from "../../core/arrow/activations.ts";
import { makeBatch } from "../../core/arrow/batch.ts";
import { readArrowChunks } from "../../core/arrow/reader.ts";
import { writeArrow } from "../../core/arrow/writer.ts";
import { META, type RecordStream } from "../../core/stream.ts";

/** A stream of `sizes.length` batches whose row r is [r, r + 0.25, …], with a token column and cursors. */
export function countingStream(
	sizes: readonly number[],
	{ width = 4, first = 0, cursors = true, type = "float32" as VectorType } = {},
): RecordStream {
	const schema = activationsSchema({ width, type, columns: ["token"] });
	async function* batches(): AsyncGenerator<RecordBatch> {
		let row = first;
		for (const rows of sizes) {
			const floats = Float32Array.from(
				{ length: rows * width },
				(_, i) => row + Math.floor(i / width) + (i % width) / 4,
			);
			const data = type === "float16" ? new Uint16Array(new Float16Array(floats).buffer) : floats;
			const token = Uint32Array.from({ length: rows }, (_, i) => 10 * (row + i));
			yield activationsBatch(schema, { data, rows, width, type }, { token }, cursors ? row : undefined);
			row += rows;
		}
	}
	return { schema, batches: batches() };
}

/** Rows r of columns a [r, r + 0.5], b [−r, −r − 0.25, −r − 0.5] and layer r mod 3, in batches of `sizes`. */
export function severalColumns(
	sizes: readonly number[],
	{
		types = ["float32", "float32"] as readonly VectorType[],
		spoil = -1,
		layerType = new Uint16() as DataType,
	} = {},
): RecordStream {
	const fields = [vectorField("a", 2, types[0]!), vectorField("b", 3, types[1]!)] as const;
	const layer = new Field("layer", layerType, false);
	const schema = new Schema([...fields, layer], activationsSchema({ width: 1, type: "float32" }).metadata);
	async function* batches(): AsyncGenerator<RecordBatch> {
		let first = 0;
		for (const rows of sizes) {
			const vectors = fields.map((field, i) => {
				const width = 2 + i;
				const values = Float32Array.from({ length: rows * width }, (_, at) => {
					const row = first + Math.floor(at / width);
					if (row === spoil && i === 1 && at % width === 2) return Number.NaN;
					return i === 0 ? row + (at % width) / 2 : -row - (at % width) / 4;
				});
				const type = types[i]!;
				const data = type === "float16" ? new Uint16Array(new Float16Array(values).buffer) : values;
				return vectorData(field, { data, rows, width, type });
			});
			const numbers = Array.from({ length: rows }, (_, row) => (first + row) % 3);
			const layers = vectorFromArray(
				DataType.isInt(layerType) && layerType.bitWidth === 64 ? numbers.map(BigInt) : numbers,
				layerType,
			);
			yield makeBatch(schema, rows, [...vectors, layers.data[0]!], new Map([[META.cursor, String(first)]]));
			first += rows;
		}
	}
	return { schema, batches: batches() };
}

/** The bytes of a stream, each write a chunk of its own. */
export async function chunksOf(stream: RecordStream, format?: "stream" | "file"): Promise<Uint8Array[]> {
	const chunks: Uint8Array[] = [];
	await writeArrow(stream, { write: async (bytes) => void chunks.push(bytes.slice()) }, format);
	return chunks;
}

export async function bytesOf(stream: RecordStream, format?: "stream" | "file"): Promise<Uint8Array> {
	return new Uint8Array(Buffer.concat(await chunksOf(stream, format)));
}

/** Reads bytes as they would come through a pipe, in pieces of `step`. */
export function readBytes(bytes: Uint8Array, step = 1000): Promise<RecordStream> {
	async function* pieces() {
		for (let at = 0; at < bytes.length; at += step) yield bytes.subarray(at, at + step);
	}
	return readArrowChunks(pieces());
}

export async function allBatches(stream: RecordStream): Promise<RecordBatch[]> {
	return Array.fromAsync(stream.batches);
}
