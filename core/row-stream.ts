/** A program's own vectors as a stream, for everything that takes one. */
import { activationsBatch, activationsSchema } from "./arrow/activations.ts";
import { SaeError } from "./errors.ts";
import type { RecordStream } from "./stream.ts";

/**
 * An activations stream of the rows in `chunks`.
 *
 * @param chunks Arrays of one or more rows each, row-major [rows, d_in]. They are not copied, so leave them as
 *   they are until the stream's consumer asks for the next one.
 * @throws SaeError, while the stream is read, where a chunk is not a whole number of rows.
 * @example
 * const latents = encodeStream(rowStream([activations], sae.d_in), sae, await openSae(sae));
 */
export function rowStream(
	chunks: Iterable<Float32Array> | AsyncIterable<Float32Array>,
	d_in: number,
): RecordStream {
	const schema = activationsSchema({ width: d_in, type: "float32" });
	async function* batches() {
		let cursor = 0;
		for await (const data of chunks) {
			const rows = data.length / d_in;
			if (!Number.isInteger(rows)) {
				throw new SaeError(
					`the chunk at row ${cursor} has ${data.length} values, which is no multiple of ${d_in}`,
				);
			}
			yield activationsBatch(schema, { data, rows, width: d_in, type: "float32" }, {}, cursor);
			cursor += rows;
		}
	}
	return { schema, batches: batches() };
}
