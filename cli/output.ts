/** Where verbs that make a stream put it: stdout or a file, as Arrow, Parquet, text or, on a terminal, a table. */
import { extname } from "node:path";
import type { RecordBatch, Schema } from "apache-arrow";
import { z } from "zod";
import { unlessAborted } from "../core/abort.ts";
import { stdoutSink } from "../core/arrow/stdout.ts";
import { ArrowWriter, type ByteSink } from "../core/arrow/writer.ts";
import { writeAtomically } from "../core/files/atomic.ts";
import type { Context } from "../core/plugin.ts";
import { META, type RecordStream } from "../core/stream.ts";
import { type RowFormatter, rowFormatter } from "./rows.ts";

const FORMATS = ["arrow", "parquet", "json", "csv", "table"] as const;
type Format = (typeof FORMATS)[number];

/** Options that such verbs spread into their own. */
export const outputOptions = {
	out: z
		.string()
		.min(1)
		.optional()
		.meta({ hint: "FILE" })
		.describe("Write to this file, which appears only when it is complete, instead of stdout"),
	format: z
		.enum(FORMATS)
		.optional()
		.describe(
			"Form of the output; json is one object per line. By default arrow, a table on a terminal, and what " +
				"the ending of --out says (.parquet, .json, .jsonl, .csv)",
		),
};

export interface OutputOptions {
	readonly out?: string | undefined;
	readonly format?: Format | undefined;
}

const ENDINGS: Readonly<Record<string, Format>> = {
	".parquet": "parquet",
	".json": "json",
	".jsonl": "json",
	".csv": "csv",
};

/** Rows of wide streams that a terminal shows when no format was asked for. */
const PREVIEW_ROWS = 20;

/** Rows that become text at a time. */
const TEXT_ROWS = 64;

/** Writes batches one by one; `end` completes the output. */
export interface OutputWriter {
	/** Resolves when more may follow. */
	write(batch: RecordBatch): Promise<void>;
	end(): Promise<void>;
}

/**
 * Calls `produce` with a writer for batches of `schema` and completes the output after it. When `produce` fails
 * nothing appears at `--out`.
 */
export async function withOutput(
	schema: Schema,
	options: OutputOptions,
	produce: (writer: OutputWriter) => Promise<void>,
): Promise<void> {
	const { out } = options;
	const format = formatOf(options);
	const into = async (sink: ByteSink) => {
		const writer = await writerOf(format, schema, sink, out ? "file" : "stream");
		await produce(writer);
		await writer.end();
	};
	if (out === undefined) await into(stdoutSink());
	else await writeAtomically(out, (append) => into({ write: append }));
}

async function writerOf(
	format: Format,
	schema: Schema,
	sink: ByteSink,
	arrow: "file" | "stream",
): Promise<OutputWriter> {
	if (format === "arrow") return new ArrowWriter(schema, sink, arrow);
	if (format !== "parquet") return textWriter(schema, sink, rowFormatter(format));
	const { ParquetWriter } = await import("../core/arrow/parquet.ts");
	return new ParquetWriter(schema, sink);
}

/** Writes a whole stream. Stops when the context's signal says so, even while the reader of stdout stalls. */
export async function writeOutput(
	stream: RecordStream,
	options: OutputOptions,
	context: Pick<Context, "signal" | "log">,
): Promise<void> {
	const limit = isPreview(stream.schema, options) ? PREVIEW_ROWS : Number.POSITIVE_INFINITY;
	await withOutput(stream.schema, options, async (writer) => {
		let rows = 0;
		for await (const batch of stream.batches) {
			const left = limit - rows;
			const shown = batch.numRows > left ? batch.slice(0, left) : batch;
			await unlessAborted(writer.write(shown), context.signal);
			rows += batch.numRows;
			context.signal.throwIfAborted();
			if (rows > limit) {
				context.log.info(`the first ${limit} rows; pipe the output on, or use --out or --format, for all`);
				break;
			}
		}
	});
}

/** The form that the options, or the lack of them, ask for. */
export function formatOf({ out, format }: OutputOptions): Format {
	if (format !== undefined) return format;
	if (out !== undefined) return ENDINGS[extname(out).toLowerCase()] ?? "arrow";
	return process.stdout.isTTY ? "table" : "arrow";
}

/** Whether a person at a terminal is about to see rows that are too many and too wide to be read. */
function isPreview(schema: Schema, { out, format }: OutputOptions): boolean {
	const kind = schema.metadata.get(META.kind);
	return out === undefined && format === undefined && process.stdout.isTTY === true && kind !== "metrics";
}

function textWriter(schema: Schema, sink: ByteSink, formatter: RowFormatter): OutputWriter {
	const encoder = new TextEncoder();
	let header: string | undefined = formatter.header(schema);
	const flush = async (text: string) => {
		const whole = (header ?? "") + text;
		header = undefined;
		if (whole !== "") await sink.write(encoder.encode(whole));
	};
	return {
		async write(batch) {
			for (let from = 0; from < batch.numRows; from += TEXT_ROWS) {
				await flush(formatter.rows(batch, from, Math.min(from + TEXT_ROWS, batch.numRows)));
			}
		},
		end: () => flush(""),
	};
}
