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
	const packer = new Packer(length, bos);
	const separators = separator === undefined ? undefined : Uint32Array.of(separator);
	let document = -1;
	for await (const text of texts) {
		document++;
		if (!isInPart(part, document)) continue;
		yield* packer.add(tokenizer.encode(text), document);
		if (separators && text !== "") yield* packer.add(separators, document);
		if (!pack) yield* packer.end();
	}
	yield* packer.end();
}

/** Fills one context after the other. */
class Packer {
	readonly #length: number;
	readonly #bos: number | undefined;
	#tokens: Uint32Array;
	#documents: Uint32Array;
	#filled = 0;

	constructor(length: number, bos: number | undefined) {
		this.#length = length;
		this.#bos = bos;
		this.#tokens = new Uint32Array(length);
		this.#documents = new Uint32Array(length);
	}

	/** The contexts that these tokens make full. */
	*add(tokens: Uint32Array, document: number): Generator<Context> {
		for (let at = 0; at < tokens.length; ) {
			const begin = this.#filled;
			if (begin === 0 && this.#bos !== undefined) this.#tokens[this.#filled++] = this.#bos;
			const taken = tokens.subarray(at, at + this.#length - this.#filled);
			this.#tokens.set(taken, this.#filled);
			this.#filled += taken.length;
			this.#documents.fill(document, begin, this.#filled);
			at += taken.length;
			if (this.#filled === this.#length) yield* this.end();
		}
	}

	/** The context that was begun. */
	*end(): Generator<Context> {
		if (this.#filled === 0) return;
		const tokens = this.#tokens.slice(0, this.#filled);
		const documents = this.#documents.slice(0, this.#filled);
		this.#filled = 0;
		yield { tokens, documents };
	}
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
