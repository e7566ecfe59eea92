/** What tokens look like as text. Pure functions. */

/** Ends of lines and tabs, which have signs of their own. */
const SIGNS: Readonly<Record<string, string>> = {
	"\r": "␍",
	"\n": "↵",
	"\t": "⇥",
	"\u2028": "↵",
	"\u2029": "↵",
};

/** Control characters, and those that turn the direction of text, so that it would not read as it is. */
export const HIDDEN = /[\p{Cc}\u061c\u200e\u200f\u2028-\u202e\u2066-\u2069]/u;

/** Nothing but what takes no room: joiners, marks of byte order, soft hyphens. */
const NO_ROOM = /^\p{Cf}+$/u;

/** Text that shows what can't be seen: controls, ends of lines, tabs, and where a token that is spaces only begins. */
export function visible(text: string): string {
	const marked = NO_ROOM.test(text)
		? Array.from(text, codeOf).join("")
		: text.replace(new RegExp(HIDDEN, "gu"), (one) => SIGNS[one] ?? codeOf(one));
	return marked !== "" && marked.trim() === "" ? `␣${marked.slice(1)}` : marked;
}

function codeOf(character: string): string {
	const code = character.codePointAt(0)!;
	// Unicode has pictures of the oldest ones.
	if (code < 0x20) return String.fromCodePoint(0x2400 + code);
	return `⟨${code.toString(16).toUpperCase().padStart(4, "0")}⟩`;
}

/** A short form, for lists: spaces at the ends don't count there. */
export function label(text: string): string {
	const trimmed = text.trim();
	return visible(trimmed === "" ? text : trimmed);
}

/** From 0.12, which is just seen, to 1. */
export function heat(value: number, most: number): number {
	return most > 0 ? Math.min(1, 0.12 + 0.88 * (Math.abs(value) / most)) : 0;
}
