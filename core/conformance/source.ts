/** Whether a source keeps the promises that let a stream be resumed and believed. */
import { type RecordBatch, type Schema, util } from "apache-arrow";
import { readArrowChunks } from "../arrow/reader.ts";
import { vectorFields } from "../arrow/vectors.ts";
import { writeArrow } from "../arrow/writer.ts";
import type { ActivationSource, Plugin } from "../plugin.ts";
import { META } from "../stream.ts";
import { withBench } from "./bench.ts";
import { check, checkContribution, type Subject } from "./check.ts";

export interface SourceSubject extends Subject {
	/** How many rows to look at; 1000 unless given. A source may have more. */
	readonly rows?: number;
}

/**
 * Checks a source: its schema, that batches are of that schema and state their row numbers, that there are as many
 * rows as it says, that the same rows come again and when it is opened again, that `batches(start)` is the tail of
 * `batches(0)`, and that a consumer may stop early.
 *
 * @throws Error that says what does not hold.
 * @example
 * test("conforms", () => checkSource(plugin, { options: { path: "fixture.txt" } }));
 */
export async function checkSource(plugin: Plugin, subject: SourceSubject = {}): Promise<void> {
	const { contribution, options, title } = await checkContribution(plugin, "source", subject);
	const limit = subject.rows ?? 1000;
	await withBench(plugin, {}, async ({ context }) => {
		const source = await contribution.open(options, context);
		checkSchema(source.schema, title);
		const whole = await read(source, 0, limit, title);
		check(whole.rows.length > 0, `${title}: has no rows with these options; give it some data`);
		if (source.rows !== undefined) {
			const promised = Math.min(source.rows, limit);
			check(
				whole.ended ? whole.rows.length === source.rows : whole.rows.length >= promised,
				`${title}: says that there are ${source.rows} rows, but batches(0) gives ${whole.rows.length}`,
			);
		}
		same(
			whole.rows,
			(await read(source, 0, limit, title)).rows,
			`${title}: batches(0) gives other rows the second time`,
		);
		const reopened = await contribution.open(options, context);
		same(
			whole.rows,
			(await read(reopened, 0, limit, title)).rows,
			`${title}: gives other rows when it is opened again`,
		);
		const count = whole.rows.length;
		const starts = [1, whole.firstBatch - 1, whole.firstBatch, Math.floor(count / 2), count - 1];
		if (whole.ended) starts.push(count);
		for (const start of new Set(starts.filter((one) => one > 0 && one <= count))) {
			const tail = await read(source, start, count - start + (whole.ended ? 1 : 0), title);
			same(whole.rows.slice(start), tail.rows, `${title}: batches(${start}) is not the tail of batches(0)`);
		}
	});
}

function checkSchema(schema: Schema, title: string): void {
	check(
		schema.metadata.get(META.kind) === "activations",
		`${title}: its schema is not that of activations; make it with core.activationsSchema or core.labelActivations`,
	);
	check(vectorFields(schema).length > 0, `${title}: its schema has no column of vectors`);
}

interface Read {
	/** Each row as JSON, every column of it. */
	readonly rows: readonly string[];
	/** Rows of the first batch. */
	readonly firstBatch: number;
	/** Whether the source came to its end before the limit. */
	readonly ended: boolean;
}

async function read(source: ActivationSource, start: number, limit: number, title: string): Promise<Read> {
	const rows: string[] = [];
	let firstBatch = 0;
	const batches: RecordBatch[] = [];
	for await (const batch of source.batches(start)) {
		if (batch.numRows === 0) continue;
		checkBatch(batch, source.schema, start + rows.length, title);
		firstBatch ||= batch.numRows;
		rows.push(...rowsOf(batch));
		batches.push(batch);
		if (rows.length >= limit) break;
	}
	const ended = rows.length < limit;
	same(
		rows,
		await throughArrow(source.schema, batches),
		`${title}: rows are changed by being written and read`,
	);
	return { rows: rows.slice(0, limit), firstBatch, ended };
}

function checkBatch(batch: RecordBatch, schema: Schema, row: number, title: string): void {
	const fields = (of: Schema) => of.fields.map((field) => `${field}`).join(", ");
	check(
		util.compareSchemas(schema, batch.schema),
		`${title}: the batch at row ${row} has the columns (${fields(batch.schema)}), the source's schema (${fields(schema)})`,
	);
	const cursor = batch.metadata.get(META.cursor);
	check(
		cursor === String(row),
		`${title}: the batch at row ${row} says that its first row is ${cursor ?? "unknown"}; the last argument of core.activationsBatch says it`,
	);
}

function rowsOf(batch: RecordBatch): string[] {
	return batch
		.toArray()
		.map((row) =>
			JSON.stringify(row, (_, value) =>
				typeof value === "bigint" || Number.isNaN(value) ? String(value) : value,
			),
		);
}

/** The rows as the next command of a pipe would read them. */
async function throughArrow(schema: Schema, batches: readonly RecordBatch[]): Promise<string[]> {
	const chunks: Uint8Array[] = [];
	async function* all() {
		yield* batches;
	}
	await writeArrow({ schema, batches: all() }, { write: async (bytes) => void chunks.push(bytes.slice()) });
	async function* bytes() {
		yield* chunks;
	}
	const stream = await readArrowChunks(bytes());
	return (await Array.fromAsync(stream.batches)).flatMap(rowsOf);
}

function same(expected: readonly string[], got: readonly string[], complaint: string): void {
	const at = expected.findIndex((row, i) => row !== got[i]);
	if (at < 0 && expected.length === got.length) return;
	const short = (row: string | undefined) => (row === undefined ? "nothing" : row.slice(0, 80));
	const where = at < 0 ? expected.length : at;
	throw new Error(
		`${complaint}: ${got.length} rows instead of ${expected.length}; at row ${where} of these, ${short(got[where])} instead of ${short(expected[where])}`,
	);
}
