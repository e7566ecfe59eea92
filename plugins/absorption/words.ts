/** First letters of words, from a column of words or from one of token ids. */
import type { RecordBatch } from "apache-arrow";
import type { Core, TextTokenizer } from "saeflow";
import { textColumn } from "../probing/examples.ts";

/** A space, or how tokenizers write it: byte-level BPE (GPT-2) and SentencePiece (Llama). */
const SPACE = /^[ \u0120\u2581]/;

/** A word of letters alone, without a space before it and in lower case; "" for all else. */
export function wordOf(text: string): string {
	const word = text.replace(SPACE, "");
	return /^[a-z]+$/i.test(word) ? word.toLowerCase() : "";
}

/** Reads the word of each row of a batch. */
export type WordReader = (batch: RecordBatch) => string[];

export function columnWords(core: Core, column: string): WordReader {
	return (batch) => textColumn(core, batch, column).map(wordOf);
}

/** Of tokens by themselves; special ones are no words. */
export function tokenWords(core: Core, tokenizer: TextTokenizer, column: string): WordReader {
	const known = new Map<number, string>();
	const wordOfToken = (id: number) => {
		const before = known.get(id);
		if (before !== undefined) return before;
		const word = tokenizer.special.has(id) ? "" : wordOf(tokenizer.decode([id]));
		known.set(id, word);
		return word;
	};
	return (batch) => Array.from(core.numberColumn(batch, column), wordOfToken);
}
