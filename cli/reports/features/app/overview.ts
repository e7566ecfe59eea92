/** The first page: what the SAE is, and all latents at a glance. */
import { DENSE } from "../format.ts";
import { h } from "./dom.ts";
import { mapView } from "./map-view.ts";
import { percent, shown } from "./numbers.ts";
import { bars, curve } from "./plot.ts";
import type { Store } from "./store.ts";

const CURVES: Readonly<Record<string, string>> = {
	fvu: "FVU",
	l0: "L0, active latents per row",
	dead: "share of dead latents",
	loss: "loss",
};

export function overview(store: Store, ask: (query: string) => void): HTMLElement {
	const { manifest, columns } = store;
	const density = columns.density!;
	const dead = count(density, (value) => value === 0);
	const dense = count(density, (value) => value > DENSE);
	// A latent's density is its part of the active latents per row.
	const l0 =
		manifest.rows === manifest.d_sae
			? Array.from(density).reduce((sum, value) => sum + value, 0)
			: Number.NaN;
	const button = (text: string, query: string) =>
		h("button", { type: "button", class: "link", onclick: () => ask(query) }, text);
	return h(
		"article",
		{ class: "overview" },
		h("h2", { tabindex: -1 }, "Overview"),
		h(
			"dl",
			{ class: "figures large" },
			tile("latents", shown(manifest.rows)),
			manifest.seen !== undefined && tile("rows seen", shown(manifest.seen)),
			manifest.fvu && tile(manifest.fvu[0], shown(manifest.fvu[1])),
			!Number.isNaN(l0) && tile("L0 on these rows", shown(Number(l0.toPrecision(4)))),
			tile(
				"dead",
				dead > 0 ? button(`${shown(dead)} (${percent(dead / manifest.rows)})`, "is:dead") : "none",
			),
			tile(`density above ${DENSE}`, dense > 0 ? button(shown(dense), "is:dense") : "none"),
		),
		h(
			"div",
			{ class: "columns" },
			h("section", {}, h("h3", {}, "Densities"), densities(density)),
			h("section", {}, h("h3", {}, "About"), facts(manifest.facts)),
		),
		manifest.map && mapView(store, manifest.map),
		manifest.curves.length > 0 &&
			h(
				"section",
				{},
				h("h3", {}, "Training"),
				h(
					"div",
					{ class: "columns" },
					manifest.curves.map(({ name, points }) =>
						h(
							"figure",
							{},
							h("figcaption", {}, CURVES[name] ?? name),
							curve(points, { label: `${name} against tokens of training`, x: "tokens" }),
						),
					),
				),
			),
		manifest.commands.length > 0 &&
			h(
				"section",
				{},
				h("h3", {}, "Commands"),
				facts(manifest.commands.map(([name, command]) => [name, h("code", {}, command)])),
			),
	);
}

function count(values: ArrayLike<number>, is: (value: number) => boolean): number {
	return Array.from(values).filter(is).length;
}

function tile(name: string, value: Node | string): HTMLElement {
	return h("div", {}, h("dt", {}, name), h("dd", {}, value));
}

function facts(list: readonly (readonly [name: string, value: Node | string])[]): HTMLElement {
	return h(
		"dl",
		{ class: "facts" },
		list.flatMap(([name, value]) => [h("dt", {}, name), h("dd", {}, value)]),
	);
}

/** Four bins for each decade. Latents that are never active have no logarithm; the tile counts them. */
function densities(density: ArrayLike<number>): Node {
	const logs = Array.from(density)
		.filter((value) => value > 0)
		.map(Math.log10);
	if (logs.length === 0) return h("p", { class: "soft" }, "No latent was active.");
	const low = Math.min(-1, Math.floor(logs.reduce((a, b) => Math.min(a, b))));
	const counts = new Uint32Array(-low * 4);
	for (const log of logs) counts[Math.min(counts.length - 1, Math.floor((log - low) * 4))]!++;
	const list = Array.from(counts, (count, i) => ({ from: low + i / 4, to: low + (i + 1) / 4, count }));
	return bars(
		list,
		{
			label: "Histogram of the latents' densities on a logarithmic axis",
			x: "density, share of rows on which a latent is active",
			ticks: Array.from({ length: -low + 1 }, (_, i) => [low + i, power(low + i)] as const),
		},
		(log) => shown(Number((10 ** log).toPrecision(3))),
	);
}

function power(exponent: number): string {
	return exponent >= -4 ? String(Number((10 ** exponent).toPrecision(1))) : `1e${exponent}`;
}
