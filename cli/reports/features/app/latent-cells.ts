/** How a latent is named in tables: a link, and what it is about. */
import { type Child, h } from "./dom.ts";
import { addressOf } from "./routes.ts";
import type { Store } from "./store.ts";
import { label } from "./text.ts";

/** Tokens that stand for a latent in a table. */
const TOKENS = 5;

/** Two cells. A latent that the page lacks is a number. */
export function latentCells(
	{ labels, rowOf }: Pick<Store, "labels" | "rowOf">,
	latent: number,
): HTMLElement[] {
	const row = rowOf(latent);
	const link = row === undefined ? latent : h("a", { href: addressOf({ view: "latent", latent }) }, latent);
	const about =
		row === undefined ? [] : (labels.texts.explanation?.[row] ?? chips(labels.tokens[row]!.slice(0, TOKENS)));
	return [h("td", {}, link), h("td", { class: "tokens" }, about)];
}

/** What the second of them is called. */
export function nameOfLabels({ texts }: Store["labels"]): string {
	return texts.explanation ? "about" : "active on";
}

/** Tokens beside each other. */
export function chips(tokens: readonly string[]): Child[] {
	return tokens.map((token) => h("span", { class: "chip" }, label(token)));
}

/** Heads of columns; the first two are those of `latentCells`, the others are of numbers. */
export function tableHead(...names: readonly string[]): HTMLElement {
	const head = (name: string, i: number) => h("th", { scope: "col", class: i > 1 && "amount" }, name);
	return h("thead", {}, h("tr", {}, names.map(head)));
}
