/** Tokens as running text, the brighter the more active. */
import { type Child, h } from "./dom.ts";
import { shown } from "./numbers.ts";
import { HIDDEN, heat, visible } from "./text.ts";

export interface ShownToken {
	readonly text: string;
	/** Activation; 0 is silent. */
	readonly value: number;
	/** The one that it is about. */
	readonly marked?: boolean;
}

const PARTS = new RegExp(`(${HIDDEN.source}+)`, "u");

/** Text whose invisible characters are shown, but less than the others. */
export function quietly(text: string): Child[] {
	if (text === "") return [];
	const all = visible(text);
	if (text.trim() === "" || all.startsWith("⟨")) return [h("span", { class: "quiet" }, all)];
	return text
		.split(PARTS)
		.map((part, i) => (i % 2 === 1 ? h("span", { class: "quiet" }, visible(part)) : part));
}

/** One token. `most` is the activation of full brightness. */
export function tokenElement({ text, value, marked }: ShownToken, most: number): HTMLElement {
	if (value === 0 && !marked) return h("span", {}, quietly(text));
	// The space before a word stays dark: where a line ends there, it would be a stroke without a word.
	const word = text.trimStart();
	const space = word === "" ? "" : text.slice(0, text.length - word.length);
	const element = h("mark", { class: marked && "at", title: shown(value) }, quietly(word || text));
	element.style.setProperty("--heat", String(heat(value, most)));
	return space === "" ? element : h("span", {}, /^ +$/.test(space) ? space : quietly(space), element);
}
