/**
 * A folder of activation shards: Arrow files of consecutive rows, and `manifest.json`, which says what they hold. The
 * manifest is written last, so that a folder that has one is whole. While shards are being written, what it will say
 * stands line by line in `progress.jsonl`.
 */
import { readFile } from "node:fs/promises";
import { join } from "node:path";
import { DataType, type Schema } from "apache-arrow";
import { z } from "zod";
import { SaeError } from "../errors.ts";
import { writeAtomically } from "../files/atomic.ts";
import { META } from "../stream.ts";

export const MANIFEST = "manifest.json";
export const PROGRESS = "progress.jsonl";
const FORMAT = "saeflow-shards";
const VERSION = 1;

/** The name of the n-th shard, from 0. */
export function shardName(n: number): string {
	return `shard-${String(n).padStart(5, "0")}.arrow`;
}

/** By Arrow's precision: half, single, double. */
const DTYPES = ["f16", "f32", "f64"];

const SHARD_FILE = /^shard-\d{5,}\.arrow$/;

/** Whether a file of this name, or its unfinished form, may lie in a folder of shards. */
export function isShardFile(name: string): boolean {
	return SHARD_FILE.test(name) || name === MANIFEST || name === PROGRESS || isUnfinished(name);
}

/** Whether a file of this name was left by a command that was killed. */
export function isUnfinished(name: string): boolean {
	return /^(shard-\d{5,}\.arrow|manifest\.json|progress\.jsonl)\.\d+\.tmp$/.test(name);
}

const count = z.int().min(0);

const Shard = z.object({
	file: z.string().regex(SHARD_FILE),
	rows: z.int().min(1),
	/** Number of its first row in this folder. */
	first_row: count,
	bytes: count,
	sha256: z.string().regex(/^[0-9a-f]{64}$/),
});
export type Shard = z.infer<typeof Shard>;

/** What is known before any row is written. */
const Head = z.object({
	format: z.literal(FORMAT),
	version: z.literal(VERSION),
	/** Width of each column of vectors. */
	d_in: z.record(z.string(), count),
	/** Their numbers, `f16` or `f32`. */
	dtype: z.record(z.string(), z.string()),
	/** Arrow type of each column, in order. */
	columns: z.record(z.string(), z.string()),
	/** Rows of every shard but the last. */
	rows_per_shard: z.int().min(1),
	/** Number that the first row had in the stream it came from (`sae.cursor`). */
	cursor: count,
	/** Which of several parts of a source these rows are, counted from 1. */
	part: z.object({ index: z.int().min(1), of: z.int().min(1) }).nullable(),
	model: z.string().nullable(),
	hook_point: z.string().nullable(),
	tokenizer: z.string().nullable(),
	/** The command that made the stream. */
	source: z.string().nullable(),
	/** The command that wrote the shards. */
	command: z.string(),
});
export type Head = z.infer<typeof Head>;

const Manifest = Head.extend({ rows: count, shards: z.array(Shard) }).refine(
	({ rows, shards }) => {
		let next = 0;
		for (const shard of shards) {
			if (shard.first_row !== next) return false;
			next += shard.rows;
		}
		return next === rows;
	},
	{ message: "the rows of the shards don't add up" },
);
export type Manifest = z.infer<typeof Manifest>;

/** The manifest's head for a stream of this schema. */
export function headOf(
	schema: Schema,
	own: { readonly rowsPerShard: number; readonly cursor: number; readonly command: string },
): Head {
	const vectors = schema.fields.flatMap(({ name, type }) =>
		DataType.isFixedSizeList(type) && DataType.isFloat(type.valueType)
			? [{ name, width: type.listSize, dtype: DTYPES[type.valueType.precision]! }]
			: [],
	);
	const said = (key: string) => schema.metadata.get(key) ?? null;
	const [, index, of] = /^(\d+)\/(\d+)$/.exec(said(META.part) ?? "") ?? [];
	return {
		format: FORMAT,
		version: VERSION,
		d_in: Object.fromEntries(vectors.map(({ name, width }) => [name, width])),
		dtype: Object.fromEntries(vectors.map(({ name, dtype }) => [name, dtype])),
		columns: columnsOf(schema),
		rows_per_shard: own.rowsPerShard,
		cursor: own.cursor,
		part: index === undefined ? null : { index: Number(index), of: Number(of) },
		model: said(META.model),
		hook_point: said(META.hookPoint),
		tokenizer: said(META.tokenizer),
		source: said(META.command),
		command: own.command,
	};
}

/** Arrow type of each column, by name. */
export function columnsOf(schema: Schema): Record<string, string> {
	return Object.fromEntries(schema.fields.map(({ name, type }) => [name, `${type}`]));
}

/** The manifest in `folder`; undefined when there is none. */
export async function readManifest(folder: string): Promise<Manifest | undefined> {
	const path = join(folder, MANIFEST);
	const text = await textOf(path);
	return text === undefined ? undefined : parsed(Manifest, text, path);
}

export function writeManifest(folder: string, head: Head, shards: readonly Shard[]): Promise<void> {
	const manifest: Manifest = { ...head, rows: rowsIn(shards), shards: [...shards] };
	const text = `${JSON.stringify(manifest, null, "\t")}\n`;
	return writeAtomically(join(folder, MANIFEST), (append) => append(new TextEncoder().encode(text)));
}

/** What an interrupted command had begun in `folder`, and the shards that it noted; undefined when there is nothing. */
export async function readProgress(
	folder: string,
): Promise<{ readonly head: Head; readonly shards: readonly Shard[] } | undefined> {
	const path = join(folder, PROGRESS);
	// What follows the last line end was not written to its end.
	const [first, ...lines] = (await textOf(path))?.split("\n").slice(0, -1) ?? [];
	if (first === undefined) return undefined;
	return { head: parsed(Head, first, path), shards: lines.map((line) => parsed(Shard, line, path)) };
}

/** One line of progress: the head, then each shard. */
export function progressLine(entry: Head | Shard): Uint8Array {
	return new TextEncoder().encode(`${JSON.stringify(entry)}\n`);
}

export function rowsIn(shards: readonly Shard[]): number {
	return shards.reduce((sum, { rows }) => sum + rows, 0);
}

async function textOf(path: string): Promise<string | undefined> {
	return readFile(path, "utf8").catch((error: NodeJS.ErrnoException) => {
		if (error.code === "ENOENT") return undefined;
		throw new SaeError(`${path}: can't be read (${error.code})`);
	});
}

function parsed<S extends z.ZodType>(schema: S, text: string, path: string): z.output<S> {
	let value: unknown;
	try {
		value = JSON.parse(text);
	} catch {
		throw new SaeError(`${path}: is not sound JSON; copy it again or make the shards again`);
	}
	const result = schema.safeParse(value);
	if (result.success) return result.data;
	const [{ path: where, message }] = result.error.issues as [z.core.$ZodIssue];
	const field = where.length > 0 ? `${where.join(".")}: ` : "";
	throw new SaeError(`${path}: is no manifest of shards that this version reads (${field}${message})`);
}
