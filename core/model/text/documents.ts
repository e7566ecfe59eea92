/** Texts from files and stdin, document by document. */
import { openArrow } from "../../arrow/reader.ts";
import { SaeError, usageError } from "../../errors.ts";
import { openFile } from "../../files/bytes.ts";

export interface DocumentOptions {
	readonly format: "auto" | "plain" | "jsonl" | "arrow" | "parquet";
	/** Field of JSON lines, or column. */
	readonly field: string;
	/** What ends a document of plain text. */
	readonly delimiter: string | undefined;
}

/** The documents of all files in order; the delimiter is not part of them. */
export async function* readDocuments(
	paths: readonly string[],
	options: DocumentOptions,
): AsyncGenerator<string> {
	for (const path of paths) {
		const format = options.format === "auto" ? await formatOf(path) : options.format;
		if (format !== "plain" && options.delimiter !== undefined) {
			throw usageError(`--delimiter is for plain text; ${path} is ${format}`);
		}
		if (format === "plain") yield* plainDocuments(path, options.delimiter);
		else if (format === "jsonl") yield* jsonDocuments(path, options.field);
		else if (format === "arrow") yield* arrowDocuments(path, options.field);
		else yield* parquetDocuments(path, options.field);
	}
}

async function formatOf(path: string): Promise<Exclude<DocumentOptions["format"], "auto">> {
	if (/\.(jsonl|ndjson)$/.test(path)) return "jsonl";
	if (path === "-") return "plain";
	const bytes = await openFile(path);
	const start = await bytes.readAt(0, 8).finally(() => bytes.close());
	const text = String.fromCharCode(...start);
	if (text.startsWith("PAR1")) return "parquet";
	return text.startsWith("ARROW1") || text.startsWith("\xff\xff\xff\xff") ? "arrow" : "plain";
}

/** A file's text in pieces. */
async function* textOf(path: string): AsyncGenerator<string> {
	const decoder = new TextDecoder("utf-8", { fatal: true });
	const decode = (bytes?: Uint8Array) => {
		try {
			return decoder.decode(bytes, { stream: bytes !== undefined });
		} catch {
			throw new SaeError(`${path === "-" ? "stdin" : path}: is not text in UTF-8`);
		}
	};
	if (path !== "-") await openFile(path).then((bytes) => bytes.close());
	const stream = path === "-" ? Bun.stdin.stream() : Bun.file(path).stream();
	for await (const bytes of stream) yield decode(bytes);
	yield decode();
}

/** What lies between delimiters; nothing at the very end is no document. */
async function* pieces(texts: AsyncIterable<string>, delimiter: string): AsyncGenerator<string> {
	// Texts without a delimiter, and behind them what may be the start of one.
	const held: string[] = [];
	let end = "";
	for await (const text of texts) {
		const parts = (end + text).split(delimiter);
		const last = parts.pop()!;
		for (const part of parts) yield held.splice(0).join("") + part;
		const sure = Math.max(0, last.length - delimiter.length + 1);
		held.push(last.slice(0, sure));
		end = last.slice(sure);
	}
	const rest = held.join("") + end;
	if (rest !== "") yield rest;
}

async function* plainDocuments(path: string, delimiter: string | undefined): AsyncGenerator<string> {
	if (delimiter !== undefined) return yield* pieces(textOf(path), delimiter);
	yield (await Array.fromAsync(textOf(path))).join("");
}

async function* jsonDocuments(path: string, field: string): AsyncGenerator<string> {
	let line = 0;
	for await (const text of pieces(textOf(path), "\n")) {
		line++;
		if (text.trim() === "") continue;
		const where = `${path === "-" ? "stdin" : path}: line ${line}`;
		let value: unknown;
		try {
			value = JSON.parse(text)?.[field];
		} catch {
			throw new SaeError(`${where}: is not sound JSON`);
		}
		if (typeof value !== "string") throw new SaeError(`${where}: has no text in ${field} (--text-field)`);
		yield value;
	}
}

async function* arrowDocuments(path: string, field: string): AsyncGenerator<string> {
	const { schema, batches } = await openArrow(path);
	requireColumn(
		path,
		schema.fields.map(({ name }) => name),
		field,
	);
	for await (const batch of batches) {
		const column = batch.getChild(field)!;
		for (let row = 0; row < batch.numRows; row++) yield textIn(path, field, column.get(row));
	}
}

async function* parquetDocuments(path: string, field: string): AsyncGenerator<string> {
	const [{ asyncBufferFromFile, parquetMetadataAsync, parquetReadObjects, parquetSchema }, { compressors }] =
		await Promise.all([import("hyparquet"), import("hyparquet-compressors")]);
	const damaged = (error: unknown) =>
		new SaeError(`${path}: this Parquet file can't be read (${(error as Error).message})`);
	const file = await asyncBufferFromFile(path).catch((error) => Promise.reject(damaged(error)));
	const metadata = await parquetMetadataAsync(file).catch((error) => Promise.reject(damaged(error)));
	const columns = parquetSchema(metadata).children.map(({ element }) => element.name);
	requireColumn(path, columns, field);
	let rowStart = 0;
	for (const group of metadata.row_groups) {
		const rowEnd = rowStart + Number(group.num_rows);
		const read = { file, metadata, columns: [field], rowStart, rowEnd, compressors };
		const rows = await parquetReadObjects(read).catch((error) => Promise.reject(damaged(error)));
		for (const row of rows) yield textIn(path, field, row[field]);
		rowStart = rowEnd;
	}
}

function requireColumn(path: string, columns: readonly string[], field: string): void {
	if (columns.includes(field)) return;
	throw new SaeError(`${path}: has no column ${field} (--text-field); it has: ${columns.join(", ")}`);
}

/** A null is a document without text. */
function textIn(path: string, field: string, value: unknown): string {
	if (value === null || value === undefined) return "";
	if (typeof value === "string") return value;
	throw new SaeError(`${path}: column ${field} holds ${typeof value}s, not text`);
}
