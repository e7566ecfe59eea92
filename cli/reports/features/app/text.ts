/** What tokens look like as text. Pure functions. */

/** Text that shows what can't be seen: ends of lines, tabs, and where a token that is spaces only begins. */
export function visible(text: string): string {
	const marked = text.replaceAll("\r", "␍").replaceAll("\n", "↵").replaceAll("\t", "⇥");
	return marked !== "" && marked.trim() === "" ? `␣${marked.slice(1)}` : marked;
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
