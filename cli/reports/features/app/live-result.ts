/** An encoded text: its tokens, and the latents of all of them or of one. */
import { h } from "./dom.ts";
import type { EncodedToken } from "./encode.ts";
import { latentCells, nameOfLabels, tableHead } from "./latent-cells.ts";
import { aligned, percent, shown } from "./numbers.ts";
import { type RankedLatent, ranked } from "./ranking.ts";
import type { Store } from "./store.ts";
import { label } from "./text.ts";
import { tokenElement } from "./tokens.ts";

/** Latents of a table at most. */
const LISTED = 40;

/** What a person chose to look at. */
interface Chosen {
	readonly token?: number | undefined;
	readonly latent?: number | undefined;
}

export function liveResult(store: Store, encoded: readonly EncodedToken[]): HTMLElement {
	const { max, min, density } = store.columns;
	const largestOf = (latent: number) => {
		const row = store.rowOf(latent);
		return row === undefined ? undefined : Math.max(max![row]!, -min![row]!);
	};
	const tokens = encoded.map(({ text, latents }) => ({ text, latents: ranked(latents, largestOf) }));
	const element = h("div", { class: "result" });
	draw({});
	return element;

	function draw(chosen: Chosen): void {
		const place = document.activeElement;
		const focused = place instanceof HTMLElement && element.contains(place) ? place.dataset.key : undefined;
		element.replaceChildren(textLine(chosen), ...brightness(chosen), ...latentsOf(chosen));
		if (focused) element.querySelector<HTMLElement>(`[data-key="${focused}"]`)?.focus();
	}

	/** A button that keeps the focus when everything is drawn anew. */
	function button(
		key: string,
		pressed: boolean,
		name: string,
		inner: Node | string,
		next: Chosen,
	): HTMLElement {
		const attributes = { type: "button", class: name, "aria-pressed": String(pressed) };
		const made = h("button", { ...attributes, onclick: () => draw(next) }, inner);
		made.dataset.key = key;
		return made;
	}

	function textLine(chosen: Chosen): HTMLElement {
		const strengths = tokens.map(({ latents }) => {
			const one =
				chosen.latent === undefined ? latents[0] : latents.find(({ latent }) => latent === chosen.latent);
			return one?.share ?? 0;
		});
		const most = Math.max(0, ...strengths);
		return h(
			"p",
			{ class: "text" },
			tokens.map(({ text }, i) => {
				const here = i === chosen.token;
				const inner = tokenElement({ text, value: strengths[i]!, marked: here }, most);
				return button(`token ${i}`, here, "token", inner, { ...chosen, token: here ? undefined : i });
			}),
		);
	}

	function brightness(chosen: Chosen): HTMLElement[] {
		const { latent } = chosen;
		if (latent === undefined) {
			const what =
				"Brightness is each token's most active latent, as a share of the latent's largest known activation. Choose a token for its latents, or a latent to see where it is active.";
			return [h("p", { class: "soft" }, what)];
		}
		const back = button("all", false, "link", "all latents", { ...chosen, latent: undefined });
		return [h("p", { class: "soft" }, `Brightness is latent ${latent} alone; show `, back, ".")];
	}

	function latentsOf(chosen: Chosen): HTMLElement[] {
		const token = chosen.token === undefined ? undefined : tokens[chosen.token]!;
		const list = token
			? token.latents
			: ranked(
					tokens.flatMap(({ latents }) => latents),
					largestOf,
				);
		const where = token ? `on “${label(token.text)}”` : "in this text";
		const listed = list.slice(0, LISTED);
		const most = listed.reduce((most, { value }) => Math.max(most, Math.abs(value)), 0);
		const rows = listed.map((one) => row(one, most, chosen));
		return [
			h("h3", {}, `${shown(list.length)} latents are active ${where}`),
			h(
				"table",
				{ class: "links" },
				tableHead("latent", nameOfLabels(store.labels), "density", "value", ""),
				h("tbody", {}, rows),
			),
		];
	}

	function row({ latent, value, share }: RankedLatent, most: number, chosen: Chosen): HTMLElement {
		const known = store.rowOf(latent);
		const amount = h("td", { class: "amount" }, aligned(value, most));
		amount.style.setProperty("--share", String(share));
		const here = latent === chosen.latent;
		return h(
			"tr",
			{},
			latentCells(store, latent),
			h("td", { class: "amount" }, known === undefined ? "" : percent(density![known]!)),
			amount,
			h(
				"td",
				{},
				button(`latent ${latent}`, here, "link", "show", { ...chosen, latent: here ? undefined : latent }),
			),
		);
	}
}
