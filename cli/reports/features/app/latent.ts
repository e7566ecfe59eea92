/** The page of one latent. */
import { NO_TEXT, type PackedExample, type PackedLogit, scoresOf } from "../format.ts";
import { bandsOf } from "./bands.ts";
import { type Child, h } from "./dom.ts";
import { chips, latentCells, nameOfLabels, tableHead } from "./latent-cells.ts";
import { aligned, percent, shown, spaced } from "./numbers.ts";
import { bars, evenTicks } from "./plot.ts";
import type { Detail, Store } from "./store.ts";
import { visible } from "./text.ts";
import { quietly, tokenElement } from "./tokens.ts";

export function latentView(store: Store, row: number, { strings, latent }: Detail): HTMLElement {
	const { columns, labels, manifest } = store;
	const number = (name: string) => columns[name]?.[row] ?? Number.NaN;
	const scores = scoresOf(manifest.columns).filter((name) => !Number.isNaN(number(name)));
	const most = number("max");
	const dead = number("density") === 0;
	return h(
		"article",
		{ class: "latent" },
		h("h2", { tabindex: -1 }, `Latent ${number("latent")}`),
		about(labels, row, latent.top[0]?.tokens.length === 1),
		scores.length > 0 &&
			h(
				"dl",
				{ class: "figures scores" },
				scores.map((name) => figure(spaced(name), shown(number(name)))),
			),
		h(
			"dl",
			{ class: "figures" },
			figure("density", percent(number("density"))),
			figure("active rows", shown(number("count"))),
			figure("maximum", shown(most)),
			figure("mean", shown(number("mean"))),
			figure("minimum", shown(number("min"))),
			figure("decoder norm", shown(number("decoder_norm"))),
			figure("encoder · decoder", shown(number("encoder_decoder_cosine"))),
		),
		dead && h("p", { class: "soft" }, "It was never active on the rows that were seen."),
		latent.top.length > 0 && section("Largest activations", examples(latent.top, strings, most)),
		h(
			"div",
			{ class: "columns" },
			latent.histogram.counts.length > 0 && section("Activations", histogram(latent.histogram)),
			latent.raised.length + latent.lowered.length > 0 &&
				section(
					"Logits",
					h(
						"div",
						{ class: "pair" },
						logits("raised", latent.raised, strings),
						logits("lowered", latent.lowered, strings),
					),
				),
		),
		...bandsOf(latent.samples).map(({ from, to, list }) =>
			section(
				`Samples from the ${ordinal(from)} to the ${ordinal(to)} percentile`,
				examples(list, strings, most),
			),
		),
		h(
			"div",
			{ class: "columns" },
			latent.nearest.length > 0 && section("Nearest decoder rows", links(store, ["cosine"], latent.nearest)),
			latent.cooccurring.length > 0 &&
				section("Active on the same rows", links(store, ["Jaccard", "phi"], latent.cooccurring)),
		),
	);
}

/**
 * What the latent is about: the explanation with its source, other columns of text, and the tokens it is active on,
 * unless rows are whole texts, which stand below anyway.
 */
function about({ texts, tokens }: Store["labels"], row: number, whole: boolean): HTMLElement[] {
	const { explanation, explanation_source: source, ...others } = texts;
	const said = explanation?.[row];
	const by = source?.[row];
	const more = Object.entries(others).flatMap(([name, values]): HTMLElement[] => {
		const text = values[row];
		return text ? [h("p", { class: "note" }, h("span", { class: "soft" }, `${spaced(name)}: `), text)] : [];
	});
	const seen = whole ? [] : tokens[row]!;
	return [
		...(said
			? [
					h(
						"p",
						{ class: "explanation", dir: "auto" },
						said,
						by ? h("span", { class: "soft by" }, `by ${visible(by)}`) : undefined,
					),
				]
			: []),
		...more,
		...(seen.length > 0
			? [h("p", { class: "about" }, h("span", { class: "soft" }, "active on "), chips(seen))]
			: []),
	];
}

function figure(name: string, value: string): HTMLElement {
	return h("div", {}, h("dt", {}, name), h("dd", {}, value));
}

function section(title: string, ...children: readonly Child[]): HTMLElement {
	return h("section", {}, h("h3", {}, title), ...children);
}

function examples(list: readonly PackedExample[], strings: readonly string[], most: number): HTMLElement {
	return h(
		"ol",
		{ class: "examples" },
		list.map((example) => {
			const value = h("span", { class: "value", title: example.place }, aligned(example.value, most));
			const texts = example.tokens.map((text) => strings[text]!);
			return h(
				"li",
				{},
				value,
				texts.length === 1 ? wholeText(texts[0]!, example.place) : context(example, texts, most),
			);
		}),
	);
}

function context({ at, active }: PackedExample, texts: readonly string[], most: number): HTMLElement {
	const values = new Map<number, number>();
	for (let i = 0; i < active.length; i += 2) values.set(active[i]!, active[i + 1]!);
	const tokens = texts.map((text, i) =>
		tokenElement(
			// All lines begin at the same place.
			{
				text: i === 0 && text.trim() !== "" ? text.trimStart() : text,
				value: values.get(i) ?? 0,
				marked: i === at,
			},
			most,
		),
	);
	return h("span", { class: "text", dir: "auto" }, tokens);
}

/** Characters of a text that are there at once. */
const AT_ONCE = 600;

/** A row that stands alone: its activation is that of all its text, so nothing in it is brighter. */
function wholeText(text: string, place: string): HTMLElement {
	if (text === NO_TEXT) return h("span", { class: "soft" }, place);
	if (text.length <= AT_ONCE) return h("span", { class: "text", dir: "auto" }, quietly(text));
	const cut = text.lastIndexOf(" ", AT_ONCE);
	const end = cut > AT_ONCE / 2 ? cut : AT_ONCE;
	return h(
		"details",
		{ class: "text", dir: "auto" },
		h("summary", {}, quietly(text.slice(0, end))),
		quietly(text.slice(end).trimStart()),
	);
}

function ordinal(value: number): string {
	return `${value}th`;
}

function histogram({ start, width, counts }: Detail["latent"]["histogram"]): SVGElement {
	const list = counts.map((count, i) => ({ from: start + i * width, to: start + (i + 1) * width, count }));
	const end = start + counts.length * width;
	return bars(list, {
		label: `Histogram of activations from ${shown(start)} to ${shown(end)}`,
		x: "activation; counts on a logarithmic axis",
		ticks: evenTicks(start, end, 5).map((value) => [value, shown(value)]),
		logarithmic: true,
	});
}

function logits(name: string, list: readonly PackedLogit[], strings: readonly string[]): HTMLElement {
	const most = Math.max(1e-9, ...list.map(([, logit]) => Math.abs(logit)));
	return h(
		"table",
		{ class: `logits ${name}` },
		h("caption", {}, name),
		h(
			"tbody",
			{},
			list.map(([text, logit]) => {
				const cell = h("td", { class: "amount" }, aligned(logit, most));
				cell.style.setProperty("--share", String(Math.abs(logit) / most));
				return h("tr", {}, h("td", {}, h("span", { class: "chip" }, visible(strings[text]!))), cell);
			}),
		),
	);
}

function links(
	store: Store,
	measures: readonly string[],
	list: readonly (readonly [latent: number, ...values: number[]])[],
): HTMLElement {
	const rows = list.map(([latent, ...values]) =>
		h(
			"tr",
			{},
			latentCells(store, latent),
			values.map((value) => h("td", { class: "amount" }, value.toFixed(2))),
		),
	);
	return h(
		"table",
		{ class: "links" },
		tableHead("latent", nameOfLabels(store.labels), ...measures),
		h("tbody", {}, rows),
	);
}
