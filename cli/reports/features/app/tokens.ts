/** Tokens as running text, the brighter the more active. */
import { h } from "./dom.ts";
import { shown } from "./numbers.ts";

export interface ShownToken {
	readonly text: string;
	/** Activation; 0 is silent. */
	readonly value: number;
	/** The one that it is about. */
	readonly marked?: boolean;
}

/** Text that shows what can't be seen: ends of lines, tabs, and tokens that are spaces only. */
export function visible(text: string): string {
	const marked = text.replaceAll("\r", "␍").replaceAll("\n", "↵").replaceAll("\t", "⇥");
	return marked !== "" && marked.trim() === "" ? "␣".repeat(marked.length) : marked;
}

/** A short form, for lists: spaces at the ends don't count there. */
export function label(text: string): string {
	const trimmed = text.trim();
	return visible(trimmed === "" ? text : trimmed);
}

/** One token. `most` is the activation of full brightness. */
export function tokenElement({ text, value, marked }: ShownToken, most: number): HTMLElement {
	const quiet = visible(text) !== text;
	if (value === 0 && !marked) return h("span", quiet ? { class: "quiet" } : {}, visible(text));
	const element = h(
		"mark",
		{ class: [marked && "at", quiet && "quiet"].filter(Boolean).join(" ") || undefined, title: shown(value) },
		visible(text),
	);
	element.style.setProperty("--heat", String(heat(value, most)));
	return element;
}

/** From 0.12, which is just seen, to 1. */
export function heat(value: number, most: number): number {
	return most > 0 ? Math.min(1, 0.12 + 0.88 * (Math.abs(value) / most)) : 0;
}
