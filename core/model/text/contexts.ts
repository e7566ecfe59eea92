/** From documents, or token ids ready made, to the contexts that the model sees. */

import { isInPart, type Part } from "../../part.ts";

/** What the model sees at once. */
export interface Context {
	readonly tokens: Uint32Array;
	/** The document of each token. */
	readonly documents: Uint32Array;
}

export interface Packing {
	/** Tokens of a context at most. */
	readonly length: number;
	/** The token that each context begins with. */
	readonly bos: number | undefined;
	/** The token that follows each document. */
	readonly separator: number | undefined;
	/** Whether a context goes on with the next document where one ends. */
	readonly pack: boolean;
	/** The documents that are wanted, if not all; the others are not read as tokens. */
	readonly part?: Part | undefined;
}

/** Texts in order; documents are numbered from 0. */
export async function* contextsOf(
	texts: AsyncIterable<string>,
	tokenizer: { encode(text: string): Uint32Array },
	{ length, bos, separator, pack, part }: Packing,
): AsyncGenerator<Context> {
	let tokens: number[] = [];
	let documents: number[] = [];
	const add = (token: number, document: number) => {
		if (tokens.length === 0 && bos !== undefined) {
			tokens.push(bos);
			documents.push(document);
		}
		tokens.push(token);
		documents.push(document);
	};
	const take = (): Context => {
		const context = { tokens: Uint32Array.from(tokens), documents: Uint32Array.from(documents) };
		tokens = [];
		documents = [];
		return context;
	};
	let document = -1;
	for await (const text of texts) {
		document++;
		if (!isInPart(part, document)) continue;
		for (const token of tokenizer.encode(text)) {
			add(token, document);
			if (tokens.length === length) yield take();
		}
		if (separator !== undefined && text !== "") {
			add(separator, document);
			if (tokens.length === length) yield take();
		}
		if (!pack && tokens.length > 0) yield take();
	}
	if (tokens.length > 0) yield take();
}

/** Token ids of one document, of which those that the mask hides were left out. */
export interface TokenRow {
	readonly tokens: Uint32Array;
	readonly document: number;
}

export interface Padding {
	/** The token that rows are filled up with. */
	readonly token: number;
	/** Of several at an end, how many are no padding: 1 where it is also what texts begin or end with. */
	readonly kept: 0 | 1;
}

/** Token ids ready made: each row begins a context; padding at either end is left out. */
export async function* windowsOf(
	rows: AsyncIterable<TokenRow>,
	length: number,
	padding: Padding | undefined,
	part?: Part,
): AsyncGenerator<Context> {
	for await (const { tokens, document } of rows) {
		if (!isInPart(part, document)) continue;
		const [begin, end] = padding ? withoutPadding(tokens, padding) : [0, tokens.length];
		for (let at = begin; at < end; at += length) {
			const part = tokens.slice(at, Math.min(end, at + length));
			yield { tokens: part, documents: new Uint32Array(part.length).fill(document) };
		}
	}
}

/** Where a row begins and ends without its padding; a row of nothing else is empty. */
function withoutPadding(tokens: Uint32Array, { token, kept }: Padding): [begin: number, end: number] {
	const first = tokens.findIndex((id) => id !== token);
	if (first < 0) return [0, 0];
	const last = tokens.findLastIndex((id) => id !== token);
	return [Math.max(0, first - kept), Math.min(tokens.length, last + 1 + kept)];
}
