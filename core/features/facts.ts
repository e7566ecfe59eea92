/** What a stream says of its rows beside their latents: tokens, documents, positions, or texts. */
import { DataType, type RecordBatch, type Schema } from "apache-arrow";
import { isNumberColumn, numberColumn } from "../arrow/numbers.ts";
import { META } from "../stream.ts";
import type { RowFacts } from "./recent-rows.ts";

const TEXT = "text";

export interface FactReader {
	readonly tokens: boolean;
	/** Whether no row has anything to do with those around it: each is a whole text, or says neither token nor place. */
	readonly alone: boolean;
	read(batch: RecordBatch): RowFacts;
}

export function factReader(schema: Schema): FactReader {
	const [tokens, documents, positions] = ["token", "document", "position"].map((name) =>
		isNumberColumn(schema, name) ? (batch: RecordBatch) => numberColumn(batch, name) : undefined,
	);
	const text = schema.fields.find(({ name }) => name === TEXT);
	const texts = !tokens && text && isText(text.type);
	const alone = texts || !(tokens || documents || positions);
	return {
		tokens: tokens !== undefined,
		alone,
		read: (batch) => ({
			tokens: tokens?.(batch),
			documents: documents?.(batch),
			positions: positions?.(batch),
			texts: texts ? Array.from(batch.getChild(TEXT)! as Iterable<string | null>) : undefined,
			// Rows that were shuffled stand beside rows from anywhere.
			alone: alone || batch.metadata.has(META.seed),
		}),
	};
}

function isText(type: DataType): boolean {
	if (DataType.isDictionary(type)) return isText(type.dictionary);
	return DataType.isUtf8(type) || DataType.isLargeUtf8(type);
}
