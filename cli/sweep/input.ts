/** The rows of a sweep, which every group reads from their beginning. */
import { stat } from "node:fs/promises";
import type { RecordBatch } from "apache-arrow";
import { findVectorField, vectorColumn } from "../../core/arrow/vectors.ts";
import { SaeError } from "../../core/errors.ts";
import type { RowWidths } from "../../core/plugin.ts";
import type { RecordStream } from "../../core/stream.ts";
import { openInput } from "../input.ts";

/** Which columns every SAE of a sweep sees, and which it reconstructs; by default as for `sae train`. */
export interface SweepColumns {
	readonly columns: readonly string[] | undefined;
	readonly targets: readonly string[] | undefined;
}

export interface SweepInput extends SweepColumns {
	readonly widths: RowWidths;
	/** Whether it can be read more than once: a file, not a pipe. */
	readonly again: boolean;
	/** The stream from its beginning. */
	open(): Promise<RecordStream>;
}

export async function openSweepInput(path: string, { columns, targets }: SweepColumns): Promise<SweepInput> {
	const open = () => openInput(path, ["activations"]);
	const { widths, stream } = await peekWidths(await open(), { columns, targets });
	let first: RecordStream | undefined = stream;
	return {
		columns,
		targets,
		widths,
		again: path !== "-" && (await stat(path)).isFile(),
		async open() {
			const next = first ?? (await open());
			first = undefined;
			return next;
		},
	};
}

/** Only rows say for sure how wide their vectors are; the first batch is put back. */
async function peekWidths(
	{ schema, batches }: RecordStream,
	{ columns, targets }: SweepColumns,
): Promise<{ widths: RowWidths; stream: RecordStream }> {
	const found = (names: readonly string[]) => names.map((name) => findVectorField(schema, name).name);
	const inputs = columns ? found(columns) : [findVectorField(schema).name];
	const outputs = targets && found(targets);
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
	const widthOf = (name: string) => vectorColumn(first.value, name).width;
	return {
		widths: { inputs: inputs.map(widthOf), targets: outputs?.map(widthOf) },
		stream: { schema, batches: again() },
	};
}
