/** Rows of Arrow batches as text: JSON lines, CSV, and tables for the eye. */
import { DataType, type RecordBatch, type Schema, Vector } from "apache-arrow";

export type TextFormat = "json" | "csv" | "table";

/** Turns batches into text, piece by piece so that a large batch does not become one large string. */
export interface RowFormatter {
	header(schema: Schema): string;
	rows(batch: RecordBatch, from: number, to: number): string;
}

export function rowFormatter(format: TextFormat): RowFormatter {
	if (format === "json") return JSON_LINES;
	return format === "csv" ? CSV : tableFormatter();
}

const JSON_LINES: RowFormatter = {
	header: () => "",
	rows: (batch, from, to) => {
		const names = batch.schema.fields.map(({ name }) => name);
		return cells(batch, from, to)
			.map((row) => `${JSON.stringify(Object.fromEntries(row.map((value, i) => [names[i], value])))}\n`)
			.join("");
	},
};

const CSV: RowFormatter = {
	header: (schema) => `${schema.fields.map(({ name }) => csvCell(name)).join(",")}\n`,
	rows: (batch, from, to) =>
		cells(batch, from, to)
			.map((row) => `${row.map(csvCell).join(",")}\n`)
			.join(""),
};

/** RFC 4180; vectors and lists as JSON in one cell. */
function csvCell(value: Plain): string {
	if (value === null) return "";
	const text = typeof value === "object" ? JSON.stringify(value) : String(value);
	return /[",\r\n]/.test(text) ? `"${text.replaceAll('"', '""')}"` : text;
}

const CELL_WIDTH = 48;
const NUMBER_WIDTH = 11;

/** Column widths are settled by the header and the first rows, so that a table can be printed as it comes. */
function tableFormatter(): RowFormatter {
	let titles: string[] = [];
	let widths: number[] | undefined;
	return {
		header(schema) {
			titles = schema.fields.map(({ name }) => name);
			return "";
		},
		rows(batch, from, to) {
			const numeric = batch.schema.fields.map(({ type }) => DataType.isFloat(type) || DataType.isInt(type));
			const texts = cells(batch, from, to).map((row) => row.map(tableCell));
			const isFirst = widths === undefined;
			widths ??= titles.map((title, i) => {
				const longest = Math.max(title.length, ...texts.map((row) => row[i]!.length));
				return Math.max(longest, numeric[i] ? NUMBER_WIDTH : 0);
			});
			const line = (row: readonly string[]) =>
				row
					.map((text, i) => (numeric[i] ? text.padStart(widths![i]!) : text.padEnd(widths![i]!)))
					.join("  ")
					.trimEnd();
			const lines = isFirst ? [titles, ...texts] : texts;
			return lines.map((row) => `${line(row)}\n`).join("");
		},
	};
}

function tableCell(value: Plain): string {
	if (value === null) return "-";
	if (typeof value === "number") return Number.isInteger(value) ? String(value) : value.toPrecision(6);
	if (Array.isArray(value)) return listCell(value);
	const text = typeof value === "object" ? JSON.stringify(value) : String(value);
	return text.length > CELL_WIDTH ? `${text.slice(0, CELL_WIDTH - 1)}…` : text;
}

/** What an entry is of, and its number: latents, tokens with their logits, examples of a latent by their own token. */
function entryCell(item: Plain): string {
	if (item === null || typeof item !== "object" || Array.isArray(item)) return JSON.stringify(item);
	const entry = item as { readonly [key: string]: Plain };
	const of = (what: Plain | undefined, number: Plain | undefined) =>
		`${typeof what === "string" ? JSON.stringify(what) : what}:${Number(number).toPrecision(3)}`;
	if ("index" in entry && "value" in entry) return of(entry.index, entry.value);
	if ("token" in entry && "logit" in entry) return of(entry.text || entry.token, entry.logit);
	if ("latent" in entry) return of(entry.latent, entry.cosine ?? entry.jaccard);
	if ("texts" in entry && "at" in entry) {
		const [at, texts, tokens] = [Number(entry.at), entry.texts as Plain[], entry.tokens as Plain[]];
		return of(texts[at] ?? tokens[at] ?? `row ${entry.row}`, entry.value);
	}
	return JSON.stringify(item);
}

/** The beginning of a list, and its length. */
function listCell(values: readonly Plain[]): string {
	const items = values.map((item) => {
		if (typeof item === "number") return item.toPrecision(3);
		return entryCell(item);
	});
	const tail = ` … (${items.length})`;
	let text = "";
	for (const item of items) {
		if (text.length + item.length + 1 > CELL_WIDTH - tail.length) return `${text}${tail}`;
		text += text === "" ? item : ` ${item}`;
	}
	return text;
}

/** What JSON can hold. */
type Plain = number | string | boolean | null | readonly Plain[] | { readonly [key: string]: Plain };

function cells(batch: RecordBatch, from: number, to: number): Plain[][] {
	const columns = batch.schema.fields.map((_, i) => batch.getChildAt(i)!);
	return Array.from({ length: to - from }, (_, row) =>
		columns.map((column) => plain(column.get(from + row))),
	);
}

function plain(value: unknown): Plain {
	if (value === null || value === undefined) return null;
	if (typeof value === "number") return Number.isFinite(value) ? value : null;
	if (typeof value === "bigint") return Number.isSafeInteger(Number(value)) ? Number(value) : String(value);
	if (typeof value === "string" || typeof value === "boolean") return value;
	if (value instanceof Date) return value.toISOString();
	if (value instanceof Vector || Array.isArray(value)) return Array.from(value as Iterable<unknown>, plain);
	if (ArrayBuffer.isView(value)) return Array.from(value as unknown as Iterable<unknown>, plain);
	const object = (value as { toJSON?(): unknown }).toJSON?.() ?? value;
	return Object.fromEntries(Object.entries(object as object).map(([key, item]) => [key, plain(item)]));
}
