/** The list of latents: searched, sorted, and as long as it likes, since only what is seen is there. */
import { NUMBERS, scoresOf } from "../format.ts";
import { h } from "./dom.ts";
import { chips } from "./latent-cells.ts";
import { percent, shown, spaced } from "./numbers.ts";
import { addressOf } from "./routes.ts";
import type { Direction, Search } from "./search.ts";
import type { Store } from "./store.ts";
import { scrollTo, viewOf } from "./virtual.ts";

/** As the style has it: in pixels, of rows without and with explanations. */
const ROW_HEIGHT = { plain: 56, explained: 76 };

export interface LatentList {
	readonly element: HTMLElement;
	readonly search: HTMLInputElement;
	/** Marks the latent that is open, and brings it into view. */
	select(row: number | undefined): void;
	/** The row after, or before, the open one in the list's order. */
	beside(row: number | undefined, step: 1 | -1): number | undefined;
	/** Searches for this. */
	ask(query: string): void;
	/** To be called when the list may have got another size. */
	refresh(): void;
}

/** Keys that go along the list, and by how many rows; infinitely many are to its ends. */
const STEPS: Readonly<Record<string, number>> = {
	ArrowDown: 1,
	ArrowUp: -1,
	PageDown: 10,
	PageUp: -10,
	Home: Number.NEGATIVE_INFINITY,
	End: Number.POSITIVE_INFINITY,
};

/** Columns that say how good an explanation is. */
const SCORE = /(^|_)(accuracy|f1|score)$/;

const NAMES: Readonly<Record<string, string>> = {
	latent: "number",
	max: "maximum",
	decoder_norm: "decoder norm",
	encoder_decoder_cosine: "encoder · decoder",
};

export function latentList(store: Store, search: Search): LatentList {
	const { columns, labels } = store;
	let rows: Uint32Array = new Uint32Array();
	let direction: Direction = "descending";
	let selected: number | undefined;
	const explanations = labels.texts.explanation ?? Object.values(labels.texts)[0];
	const rowHeight = explanations ? ROW_HEIGHT.explained : ROW_HEIGHT.plain;
	/** Place of the row that the Tab key comes to; the arrows lead to the others. */
	let stop = 0;

	const input = h("input", {
		type: "search",
		id: "search",
		placeholder: "Token, explanation or number",
		"aria-label": "Search latents by token, explanation or number",
		autocomplete: "off",
		spellcheck: "false",
		oninput: () => find(),
	});
	const scores = scoresOf(store.manifest.columns).filter((name) => !columns[name]!.every(Number.isNaN));
	const own = NUMBERS.filter((name) => columns[name]);
	const sort = h(
		"select",
		{ "aria-label": "Sort by", onchange: () => find() },
		[...own, ...scores].map((name) => h("option", { value: name }, NAMES[name] ?? spaced(name))),
	);
	// What is explained best comes first; without scores, what matters most often.
	sort.value = (explanations && scores.find((name) => SCORE.test(name))) ?? "density";
	const turn = h("button", {
		type: "button",
		class: "turn",
		onclick: () => {
			direction = direction === "ascending" ? "descending" : "ascending";
			find();
		},
	});
	const count = h("p", { class: "count", "aria-live": "polite" });
	const spacer = h("div", { class: "spacer", role: "list", "aria-label": "Latents" });
	const scroller = h("div", { class: "scroller", tabindex: -1, onscroll: () => draw() }, spacer);
	scroller.addEventListener("keydown", (event) => {
		const step = STEPS[event.key];
		if (step === undefined || rows.length === 0 || event.ctrlKey || event.metaKey || event.altKey) return;
		event.preventDefault();
		stop = Math.max(0, Math.min(rows.length - 1, stop + step));
		reveal(stop);
		draw();
		spacer.querySelector<HTMLElement>('a[tabindex="0"]')?.focus({ preventScroll: true });
	});

	function reveal(place: number): void {
		scroller.scrollTop = scrollTo(place, rows.length, rowHeight, scroller.clientHeight, scroller.scrollTop);
	}

	function find(): void {
		rows = search.find(input.value, sort.value, direction);
		turn.textContent = direction === "ascending" ? "↑" : "↓";
		turn.setAttribute("aria-label", `${direction}; turn round`);
		const all = store.manifest.rows;
		count.textContent =
			(rows.length === all ? "" : `${shown(rows.length)} of `) +
			`${shown(all)} ${all === 1 ? "latent" : "latents"}`;
		scroller.scrollTop = 0;
		stop = 0;
		draw();
	}

	function draw(): void {
		const view = viewOf(rows.length, rowHeight, scroller.clientHeight, scroller.scrollTop);
		// Only a row that is there can be come to.
		if (scroller.clientHeight > 0) stop = Math.max(view.first, Math.min(stop, view.end - 1));
		spacer.style.height = `${view.height}px`;
		const shownRows = Array.from(rows.subarray(view.first, view.end), (row, i) =>
			item(row, view.first + i, view.top + i * rowHeight),
		);
		// Whoever went here with the keyboard stays.
		const focused = document.activeElement instanceof HTMLAnchorElement ? document.activeElement.hash : "";
		const hadFocus = spacer.contains(document.activeElement);
		spacer.replaceChildren(...shownRows);
		if (hadFocus) spacer.querySelector<HTMLElement>(`a[href="${focused}"]`)?.focus({ preventScroll: true });
	}

	function item(row: number, place: number, top: number): HTMLElement {
		const latent = columns.latent![row]!;
		const sorted = sort.value;
		const value = columns[sorted]![row]!;
		const tokens = labels.tokens[row]!;
		const explanation = explanations?.[row];
		const density = columns.density![row]!;
		const element = h(
			"div",
			{ class: "item", role: "listitem", "aria-setsize": rows.length, "aria-posinset": place + 1 },
			h(
				"a",
				{
					href: addressOf({ view: "latent", latent }),
					class: density === 0 && "dead",
					tabindex: place === stop ? 0 : -1,
					onfocus: () => {
						stop = place;
					},
					"aria-current": row === selected && "true",
				},
				h("span", { class: "number" }, latent),
				explanation ? h("span", { class: "what", dir: "auto" }, explanation) : undefined,
				h(
					"span",
					{ class: "tokens" },
					tokens.length > 0
						? chips(tokens)
						: h("span", { class: "soft" }, density === 0 ? "never active" : "no tokens"),
				),
				h(
					"span",
					{ class: "figure soft" },
					sorted === "density" || sorted === "latent" ? percent(density) : shown(value),
				),
			),
		);
		element.style.top = `${top}px`;
		return element;
	}

	find();
	return {
		element: h(
			"section",
			{ class: explanations ? "list explained" : "list", "aria-label": "Latents" },
			h("div", { class: "controls" }, input, h("div", { class: "sorting" }, sort, turn, count)),
			scroller,
		),
		search: input,
		select(row) {
			selected = row;
			const place = row === undefined ? -1 : rows.indexOf(row);
			if (place >= 0) {
				stop = place;
				reveal(place);
			}
			draw();
		},
		beside(row, step) {
			if (rows.length === 0) return undefined;
			const place = row === undefined ? -1 : rows.indexOf(row);
			if (place < 0) return rows[0];
			return rows[place + step];
		},
		ask(query) {
			input.value = query;
			find();
		},
		refresh: draw,
	};
}
