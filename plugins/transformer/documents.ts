/** Texts from files and stdin, document by document. */
import type { Core } from "saeflow";

export interface DocumentOptions {
	readonly format: "auto" | "plain" | "jsonl" | "arrow" | "parquet";
	/** Field of JSON lines, or column. */
	readonly field: string;
	/** What ends a document of plain text. */
	readonly delimiter: string | undefined;
}

/** The documents of all files in order; the delimiter is not part of them. */
export async function* readDocuments(
	core: Core,
	paths: readonly string[],
	options: DocumentOptions,
): AsyncGenerator<string> {
	for (const path of paths) {
		const format = options.format === "auto" ? await formatOf(core, path) : options.format;
		if (format !== "plain" && options.delimiter !== undefined) {
			throw core.usageError(`--delimiter is for plain text; ${path} is ${format}`);
		}
		if (format === "plain") yield* plainDocuments(core, path, options.delimiter);
		else if (format === "jsonl") yield* jsonDocuments(core, path, options.field);
		else if (format === "arrow") yield* arrowDocuments(core, path, options.field);
		else yield* parquetDocuments(core, path, options.field);
	}
}

async function formatOf(core: Core, path: string): Promise<Exclude<DocumentOptions["format"], "auto">> {
	if (/\.(jsonl|ndjson)$/.test(path)) return "jsonl";
	if (path === "-") return "plain";
	const bytes = await core.openFile(path);
	const start = await bytes.readAt(0, 8).finally(() => bytes.close());
	const text = String.fromCharCode(...start);
	if (text.startsWith("PAR1")) return "parquet";
	return text.startsWith("ARROW1") || text.startsWith("\xff\xff\xff\xff") ? "arrow" : "plain";
}

/** A file's text in pieces. */
async function* textOf(core: Core, path: string): AsyncGenerator<string> {
	const decoder = new TextDecoder("utf-8", { fatal: true });
	const decode = (bytes?: Uint8Array) => {
		try {
			return decoder.decode(bytes, { stream: bytes !== undefined });
		} catch {
			throw new core.SaeError(`${path === "-" ? "stdin" : path}: is not text in UTF-8`);
		}
	};
	if (path !== "-") await core.openFile(path).then((bytes) => bytes.close());
	const stream = path === "-" ? Bun.stdin.stream() : Bun.file(path).stream();
	for await (const bytes of stream) yield decode(bytes);
	yield decode();
}

/** What lies between delimiters; nothing at the very end is no document. */
async function* pieces(texts: AsyncIterable<string>, delimiter: string): AsyncGenerator<string> {
	let rest = "";
	for await (const text of texts) {
		const parts = (rest + text).split(delimiter);
		rest = parts.pop()!;
		yield* parts;
	}
	if (rest !== "") yield rest;
}

async function* plainDocuments(
	core: Core,
	path: string,
	delimiter: string | undefined,
): AsyncGenerator<string> {
	if (delimiter !== undefined) return yield* pieces(textOf(core, path), delimiter);
	yield (await Array.fromAsync(textOf(core, path))).join("");
}

async function* jsonDocuments(core: Core, path: string, field: string): AsyncGenerator<string> {
	let line = 0;
	for await (const text of pieces(textOf(core, path), "\n")) {
		line++;
		if (text.trim() === "") continue;
		const where = `${path === "-" ? "stdin" : path}: line ${line}`;
		let value: unknown;
		try {
			value = JSON.parse(text)?.[field];
		} catch {
			throw new core.SaeError(`${where}: is not sound JSON`);
		}
		if (typeof value !== "string")
			throw new core.SaeError(`${where}: has no text in ${field} (--text-field)`);
		yield value;
	}
}

async function* arrowDocuments(core: Core, path: string, field: string): AsyncGenerator<string> {
	const { schema, batches } = await core.openArrow(path);
	requireColumn(
		core,
		path,
		schema.fields.map(({ name }) => name),
		field,
	);
	for await (const batch of batches) {
		const column = batch.getChild(field)!;
		for (let row = 0; row < batch.numRows; row++) yield textIn(core, path, field, column.get(row));
	}
}

async function* parquetDocuments(core: Core, path: string, field: string): AsyncGenerator<string> {
	const [{ asyncBufferFromFile, parquetMetadataAsync, parquetReadObjects, parquetSchema }, { compressors }] =
		await Promise.all([import("hyparquet"), import("hyparquet-compressors")]);
	const damaged = (error: unknown) =>
		new core.SaeError(`${path}: this Parquet file can't be read (${(error as Error).message})`);
	const file = await asyncBufferFromFile(path).catch((error) => Promise.reject(damaged(error)));
	const metadata = await parquetMetadataAsync(file).catch((error) => Promise.reject(damaged(error)));
	const columns = parquetSchema(metadata).children.map(({ element }) => element.name);
	requireColumn(core, path, columns, field);
	let rowStart = 0;
	for (const group of metadata.row_groups) {
		const rowEnd = rowStart + Number(group.num_rows);
		const read = { file, metadata, columns: [field], rowStart, rowEnd, compressors };
		const rows = await parquetReadObjects(read).catch((error) => Promise.reject(damaged(error)));
		for (const row of rows) yield textIn(core, path, field, row[field]);
		rowStart = rowEnd;
	}
}

function requireColumn(core: Core, path: string, columns: readonly string[], field: string): void {
	if (columns.includes(field)) return;
	throw new core.SaeError(`${path}: has no column ${field} (--text-field); it has: ${columns.join(", ")}`);
}

/** A null is a document without text. */
function textIn(core: Core, path: string, field: string, value: unknown): string {
	if (value === null || value === undefined) return "";
	if (typeof value === "string") return value;
	throw new core.SaeError(`${path}: column ${field} holds ${typeof value}s, not text`);
}
