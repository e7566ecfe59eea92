/** Ways to cut text into words. Runs in a browser too. */

/** Says from where to where each word of a text goes; they lie side by side, and none is empty. */
export type Cut = (text: string, word: (from: number, to: number) => void) => void;

export const whole: Cut = (text, word) => {
	if (text !== "") word(0, text.length);
};

/** What a pattern matches, one match after the other, and what is between matches. */
export function byPattern(pattern: RegExp): Cut {
	const next = new RegExp(pattern.source, "uy");
	return (text, word) => {
		let start = 0;
		let at = 0;
		while (at < text.length) {
			next.lastIndex = at;
			// Matches are asked for where they begin, since a test alone makes no object.
			const end = next.test(text) ? next.lastIndex : -1;
			if (end > at) {
				if (start < at) word(start, at);
				word(at, end);
				start = at = end;
				continue;
			}
			// An empty match ends a word as well.
			if (end === at && start < at) {
				word(start, at);
				start = at;
			}
			at += text.codePointAt(at)! > 0xffff ? 2 : 1;
		}
		if (start < text.length) word(start, text.length);
	};
}

const PAIRS = 1 << 20;

/** Runs of characters that lie beside each other in some token as they do in the text, so that no token is cut. */
export function byNeighbours(tokens: Iterable<string>): Cut {
	// By hash: for a few pairs that no token has, it says so too; their words are longer than they need to be.
	const known = new Uint8Array(PAIRS);
	const place = (first: number, second: number) =>
		((Math.imul(first, 0x9e3779b1) >>> 12) ^ second) & (PAIRS - 1);
	for (const token of tokens) {
		for (let i = 1; i < token.length; i++) known[place(token.charCodeAt(i - 1), token.charCodeAt(i))] = 1;
	}
	return (text, word) => {
		let start = 0;
		let last = text.charCodeAt(0);
		for (let at = 1; at < text.length; at++) {
			const code = text.charCodeAt(at);
			const isHalf = last >= 0xd800 && last < 0xdc00;
			if (known[place(last, code)] === 0 && !isHalf) {
				word(start, at);
				start = at;
			}
			last = code;
		}
		if (start < text.length) word(start, text.length);
	};
}
