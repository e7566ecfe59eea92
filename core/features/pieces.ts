/** Tokens as pieces of text, which joined are the text. */

/** What a tokenizer writes for bytes that are no whole character. */
const INCOMPLETE = "\ufffd";

/** Tokens of one character at most. */
const LONGEST = 4;

export interface TokenTexts {
	/** A token by itself. */
	one(token: number): string;
	/**
	 * Tokens in a row. A character that is spread over several tokens is the text of one of them, `at` if it is among
	 * them and else the first; the others are empty.
	 */
	row(tokens: Uint32Array, at: number): string[];
}

/** @param decode what a tokenizer makes of ids. */
export function tokenTexts(decode: (ids: number[]) => string): TokenTexts {
	const known = new Map<number, string>();
	// Some tokenizers drop the space that a text begins with: decode behind a token that is there anyway.
	let anchor: { token: number; text: string } | undefined;
	const joined = (tokens: number[]): string => {
		anchor ??= { token: tokens[0]!, text: decode([tokens[0]!]) };
		const text = decode([anchor.token, ...tokens]);
		return text.startsWith(anchor.text) ? text.slice(anchor.text.length) : decode(tokens);
	};
	const one = (token: number): string => {
		let text = known.get(token);
		if (text === undefined) {
			text = joined([token]);
			known.set(token, text);
		}
		return text;
	};
	return {
		one,
		row(tokens, at) {
			const texts = Array.from(tokens, one);
			for (let from = 0; from < texts.length; from++) {
				if (!texts[from]!.includes(INCOMPLETE)) continue;
				for (let to = from + 2; to <= Math.min(texts.length, from + LONGEST); to++) {
					const text = joined([...tokens.subarray(from, to)]);
					if (text.includes(INCOMPLETE)) continue;
					const shown = at >= from && at < to ? at : from;
					for (let i = from; i < to; i++) texts[i] = i === shown ? text : "";
					from = to - 1;
					break;
				}
			}
			return texts;
		},
	};
}
