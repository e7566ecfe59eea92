/** Tokens as running text, the brighter the more active. */
import { type Child, h } from "./dom.ts";
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

/** Text whose invisible characters are shown, but less than the others. */
function quietly(text: string): Child[] {
	if (text.trim() === "") return [h("span", { class: "quiet" }, visible(text))];
	return text
		.split(/([\r\n\t]+)/)
		.map((part, i) => (i % 2 === 1 ? h("span", { class: "quiet" }, visible(part)) : part));
}

/** One token. `most` is the activation of full brightness. */
export function tokenElement({ text, value, marked }: ShownToken, most: number): HTMLElement {
	if (value === 0 && !marked) return h("span", {}, quietly(text));
	const element = h("mark", { class: marked && "at", title: shown(value) }, quietly(text));
	element.style.setProperty("--heat", String(heat(value, most)));
	return element;
}

/** From 0.12, which is just seen, to 1. */
export function heat(value: number, most: number): number {
	return most > 0 ? Math.min(1, 0.12 + 0.88 * (Math.abs(value) / most)) : 0;
}
