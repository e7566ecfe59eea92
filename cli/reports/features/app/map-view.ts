/** Latents as points, which open what they are. */
import type { MapKind } from "../format.ts";
import { h } from "./dom.ts";
import { percent } from "./numbers.ts";
import { addressOf } from "./routes.ts";
import type { Store } from "./store.ts";
import { label } from "./text.ts";

const KINDS: Readonly<Record<MapKind, string>> = {
	umap: "UMAP, cosine distance, 15 neighbours",
	pca: "The first two principal components",
};

/** Pixels from a point within which it is meant. */
const REACH = 12;
/** From rare to dense, on light and dark ground alike. */
const RAMP = ["#3b4cc0", "#3f8fd2", "#2fb59a", "#b7b526", "#f0932b", "#e0433a"];
const MARGIN = 14;

export function mapView(store: Store, kind: MapKind): HTMLElement {
	const { columns } = store;
	const [x, y, density, latents] = [columns.x!, columns.y!, columns.density!, columns.latent!];
	const colours = coloursOf(density);
	const canvas = h("canvas", {
		role: "img",
		"aria-label": "Map of decoder directions; the list has the same latents",
	});
	const tip = h("p", { class: "tip", hidden: true });
	const place = (row: number) => {
		const { clientWidth: width, clientHeight: height } = canvas;
		const [across, up] = [width / 2 - MARGIN, height / 2 - MARGIN];
		return { left: width / 2 + x[row]! * across, top: height / 2 - y[row]! * up };
	};

	function draw(): void {
		const scale = devicePixelRatio;
		canvas.width = canvas.clientWidth * scale;
		canvas.height = canvas.clientHeight * scale;
		const context = canvas.getContext("2d");
		if (!context) return;
		context.scale(scale, scale);
		const size = latents.length > 5000 ? 1.5 : latents.length > 1000 ? 2.5 : 3.5;
		context.globalAlpha = 0.85;
		for (let row = 0; row < latents.length; row++) {
			const { left, top } = place(row);
			context.fillStyle = colours.of(row);
			context.beginPath();
			context.arc(left, top, size, 0, 2 * Math.PI);
			context.fill();
		}
	}

	function nearest(event: MouseEvent): number | undefined {
		const box = canvas.getBoundingClientRect();
		const [left, top] = [event.clientX - box.left, event.clientY - box.top];
		let best: number | undefined;
		let least = REACH ** 2;
		for (let row = 0; row < latents.length; row++) {
			const point = place(row);
			const distance = (point.left - left) ** 2 + (point.top - top) ** 2;
			if (distance < least) [best, least] = [row, distance];
		}
		return best;
	}

	canvas.addEventListener("mousemove", (event) => {
		const row = nearest(event);
		canvas.classList.toggle("over", row !== undefined);
		tip.hidden = row === undefined;
		if (row === undefined) return;
		const tokens = store.labels.tokens[row]!.map(label).slice(0, 4).join("  ");
		tip.textContent = `${latents[row]}: ${percent(density[row]!)}  ${store.labels.texts.explanation?.[row] ?? tokens}`;
		const { left, top } = place(row);
		tip.style.left = `${Math.min(left, canvas.clientWidth - 180)}px`;
		tip.style.top = `${top + 14}px`;
	});
	canvas.addEventListener("mouseleave", () => {
		tip.hidden = true;
	});
	canvas.addEventListener("click", (event) => {
		const row = nearest(event);
		if (row !== undefined) location.hash = addressOf({ view: "latent", latent: latents[row]! });
	});
	new ResizeObserver(draw).observe(canvas);

	return h(
		"section",
		{ class: "map" },
		h("h3", {}, "Directions of the decoder"),
		h(
			"p",
			{ class: "soft" },
			`${KINDS[kind]}. Latents that lie close together have similar decoder rows, but distances mean little. Click a point to open it.`,
		),
		h("div", { class: "stage" }, canvas, tip),
		h(
			"p",
			{ class: "ramp soft" },
			colours.least,
			h(
				"span",
				{ class: "steps", "aria-hidden": "true" },
				RAMP.map((colour) => dot(colour)),
			),
			`${colours.most} density`,
			...(colours.dead ? [dot(GREY), "never active"] : []),
		),
	);
}

const GREY = "#8a929c";

function dot(colour: string): HTMLElement {
	const element = h("span", { class: "dot", "aria-hidden": "true" });
	element.style.background = colour;
	return element;
}

function coloursOf(density: ArrayLike<number>) {
	let [low, high] = [Number.POSITIVE_INFINITY, 0];
	let dead = false;
	for (const value of Array.from(density)) {
		if (value === 0) dead = true;
		else [low, high] = [Math.min(low, value), Math.max(high, value)];
	}
	const range = Math.log(high / low) || 1;
	return {
		dead,
		least: Number.isFinite(low) ? percent(low) : "",
		most: percent(high),
		of(row: number): string {
			const value = density[row]!;
			if (value === 0) return GREY;
			const share = Math.log(value / low) / range;
			return RAMP[Math.min(RAMP.length - 1, Math.floor(share * RAMP.length))]!;
		},
	};
}
