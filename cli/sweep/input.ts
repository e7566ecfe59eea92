/** The rows of a sweep, which every group reads from their beginning. */
import { stat } from "node:fs/promises";
import type { RecordBatch } from "apache-arrow";
import { findVectorField, vectorColumn } from "../../core/arrow/vectors.ts";
import { SaeError } from "../../core/errors.ts";
import type { RecordStream } from "../../core/stream.ts";
import { openInput } from "../input.ts";

export interface SweepInput {
	/** Width of the vectors to train on. */
	readonly width: number;
	/** Whether it can be read more than once: a file, not a pipe. */
	readonly again: boolean;
	/** The stream from its beginning. */
	open(): Promise<RecordStream>;
}

/** @param column of vectors; by default as for `sae train`. */
export async function openSweepInput(path: string, column: string | undefined): Promise<SweepInput> {
	const open = () => openInput(path, ["activations"]);
	const { width, stream } = await peekWidth(await open(), column);
	let first: RecordStream | undefined = stream;
	return {
		width,
		again: path !== "-" && (await stat(path)).isFile(),
		async open() {
			const next = first ?? (await open());
			first = undefined;
			return next;
		},
	};
}

/** Only rows say for sure how wide their vectors are; the first batch is put back. */
async function peekWidth(
	{ schema, batches }: RecordStream,
	column: string | undefined,
): Promise<{ width: number; stream: RecordStream }> {
	const { name } = findVectorField(schema, column);
	const iterator = batches[Symbol.asyncIterator]();
	const first = await iterator.next();
	if (first.done) throw new SaeError("the stream has no rows");
	async function* again(): AsyncGenerator<RecordBatch> {
		try {
			yield first.value;
			for (let next = await iterator.next(); !next.done; next = await iterator.next()) yield next.value;
		} finally {
			await iterator.return?.();
		}
	}
	return { width: vectorColumn(first.value, name).width, stream: { schema, batches: again() } };
}
