/** The page of one latent. */
import type { PackedExample, PackedLogit } from "../format.ts";
import { bandsOf } from "./bands.ts";
import { type Child, h } from "./dom.ts";
import { latentCells, tableHead } from "./latent-cells.ts";
import { percent, shown } from "./numbers.ts";
import { bars, evenTicks } from "./plot.ts";
import type { Detail, Store } from "./store.ts";
import { visible } from "./text.ts";
import { tokenElement } from "./tokens.ts";

export function latentView(store: Store, row: number, { strings, latent }: Detail): HTMLElement {
	const { columns, labels, manifest } = store;
	const number = (name: string) => columns[name]?.[row] ?? Number.NaN;
	const texts = Object.entries(labels.texts).flatMap(([name, values]): [string, string][] => {
		const text = values[row];
		return text ? [[name, text]] : [];
	});
	const known = new Set([
		"latent",
		"count",
		"density",
		"mean",
		"min",
		"max",
		"decoder_norm",
		"encoder_decoder_cosine",
		"x",
		"y",
	]);
	const others = manifest.columns.filter(({ name }) => !known.has(name) && !Number.isNaN(number(name)));
	const most = number("max");
	const dead = number("density") === 0;
	return h(
		"article",
		{ class: "latent" },
		h("h2", { tabindex: -1 }, `Latent ${number("latent")}`),
		texts.map(([name, text]) =>
			h(
				"p",
				{ class: "explanation" },
				name !== "explanation" && h("span", { class: "soft" }, `${name}: `),
				text,
			),
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
			others.flatMap(({ name }) => figure(name.replaceAll("_", " "), shown(number(name)))),
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
		list.map(({ value, at, tokens, active, place }) => {
			const values = new Map<number, number>();
			for (let i = 0; i < active.length; i += 2) values.set(active[i]!, active[i + 1]!);
			return h(
				"li",
				{},
				h("span", { class: "value", title: place }, shown(value)),
				h(
					"span",
					{ class: "text" },
					tokens.map((text, i) =>
						tokenElement({ text: strings[text]!, value: values.get(i) ?? 0, marked: i === at }, most),
					),
				),
			);
		}),
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
				const cell = h("td", { class: "amount" }, shown(logit));
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
	return h("table", { class: "links" }, tableHead("latent", "active on", ...measures), h("tbody", {}, rows));
}
