/** Tokens as running text, the brighter the more active. */
import { type Child, h } from "./dom.ts";
import { shown } from "./numbers.ts";
import { heat, visible } from "./text.ts";

export interface ShownToken {
	readonly text: string;
	/** Activation; 0 is silent. */
	readonly value: number;
	/** The one that it is about. */
	readonly marked?: boolean;
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
