/** Small streams for tests. */
import type { RecordBatch } from "apache-arrow";
import { activationsBatch, activationsSchema, type VectorType } from "../../core/arrow/activations.ts";
import { readArrowChunks } from "../../core/arrow/reader.ts";
import { writeArrow } from "../../core/arrow/writer.ts";
import type { RecordStream } from "../../core/stream.ts";

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
