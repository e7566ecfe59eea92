/** Small charts as SVG: bars of counts, and curves. */
import { svg } from "./dom.ts";
import { shown } from "./numbers.ts";

const WIDTH = 480;
const PLOT = { left: 52, right: 12, top: 10, bottom: 34 };

export interface Bar {
	readonly from: number;
	readonly to: number;
	readonly count: number;
}

export interface BarOptions {
	/** What the chart shows, for those who don't see it. */
	readonly label: string;
	readonly x: string;
	readonly height?: number;
	/** Values at which the horizontal axis has a number. */
	readonly ticks: readonly (readonly [value: number, text: string])[];
	/** Counts by their logarithm, for tails that would not be seen. */
	readonly logarithmic?: boolean;
}

/** Bars beside each other, on an axis from the first to the last. `named`: values of that axis as text. */
export function bars(list: readonly Bar[], options: BarOptions, named = shown): SVGElement {
	const height = options.height ?? 190;
	const [left, right, top, bottom] = [PLOT.left, WIDTH - PLOT.right, PLOT.top, height - PLOT.bottom];
	const [low, high] = [list[0]!.from, list.at(-1)!.to];
	const most = Math.max(1, ...list.map(({ count }) => count));
	const share = (count: number) =>
		options.logarithmic ? Math.log1p(count) / Math.log1p(most) : count / most;
	const x = (value: number) => left + ((right - left) * (value - low)) / (high - low || 1);
	const y = (count: number) => bottom - (bottom - top) * share(count);
	const levels = options.logarithmic ? decades(most) : evenTicks(0, most, 4).filter(Number.isInteger);
	return svg(
		"svg",
		{ viewBox: `0 0 ${WIDTH} ${height}`, role: "img", "aria-label": options.label, class: "chart" },
		levels.flatMap((count) => [
			svg("path", { class: "grid", d: `M${left} ${y(count)}H${right}` }),
			svg("text", { x: left - 6, y: y(count) + 4, "text-anchor": "end" }, shown(count)),
		]),
		list.map(({ from, to, count }) => {
			const width = Math.max(1, x(to) - x(from) - 1);
			// A single one among thousands is still seen.
			const tall = count === 0 ? 0 : Math.max(1.5, bottom - y(count));
			return svg(
				"rect",
				{ class: "bar", x: x(from), y: bottom - tall, width, height: tall },
				svg("title", {}, `${named(from)} to ${named(to)}: ${shown(count)}`),
			);
		}),
		svg("path", { class: "frame", d: `M${left} ${bottom}H${right}` }),
		options.ticks.map(([value, text]) =>
			svg("text", { x: x(value), y: bottom + 16, "text-anchor": "middle" }, text),
		),
		svg("text", { class: "name", x: (left + right) / 2, y: height - 3, "text-anchor": "middle" }, options.x),
	);
}

/** A curve over an axis from 0. */
export function curve(
	points: readonly (readonly [number, number])[],
	{ label, x: xName }: Pick<BarOptions, "label" | "x">,
): SVGElement {
	const height = 170;
	const [left, right, top, bottom] = [PLOT.left, WIDTH - PLOT.right, PLOT.top, height - PLOT.bottom];
	const widest = Math.max(...points.map(([along]) => along));
	const values = points.map(([, value]) => value);
	const peak = Math.max(...values);
	const ticks = evenTicks(Math.min(0, ...values), peak > 0 ? peak * 1.1 : 1, 4);
	const [low, high] = [Math.min(ticks[0]!, ...values), Math.max(ticks.at(-1)!, ...values)];
	const x = (value: number) => left + ((right - left) * value) / widest;
	const y = (value: number) => bottom - ((bottom - top) * (value - low)) / (high - low);
	const line = points.map(
		([along, value], i) => `${i === 0 ? "M" : "L"}${x(along).toFixed(1)} ${y(value).toFixed(1)}`,
	);
	return svg(
		"svg",
		{ viewBox: `0 0 ${WIDTH} ${height}`, role: "img", "aria-label": label, class: "chart" },
		ticks.flatMap((value) => [
			svg("path", { class: "grid", d: `M${left} ${y(value)}H${right}` }),
			svg("text", { x: left - 6, y: y(value) + 4, "text-anchor": "end" }, shown(value)),
		]),
		svg("path", { class: "curve", d: line.join("") }),
		svg("path", { class: "frame", d: `M${left} ${bottom}H${right}` }),
		evenTicks(0, widest, 5).map((value) =>
			svg("text", { x: x(value), y: bottom + 16, "text-anchor": "middle" }, short(value)),
		),
		svg("text", { class: "name", x: (left + right) / 2, y: height - 3, "text-anchor": "middle" }, xName),
	);
}

/** Multiples of a round step from `low` to `high`, about `wanted` of them. */
export function evenTicks(low: number, high: number, wanted: number): number[] {
	const raw = (high - low) / wanted;
	if (!(raw > 0)) return [low];
	const decade = 10 ** Math.floor(Math.log10(raw));
	const step = [1, 2, 5, 10].map((factor) => factor * decade).find((step) => step >= raw)!;
	const [first, last] = [Math.ceil(low / step), Math.floor(high / step)];
	return Array.from({ length: last - first + 1 }, (_, i) => Number(((first + i) * step).toPrecision(12)));
}

function decades(most: number): number[] {
	return Array.from({ length: Math.floor(Math.log10(most)) + 1 }, (_, i) => 10 ** i);
}

function short(value: number): string {
	if (value >= 1e9) return `${Number((value / 1e9).toPrecision(3))}B`;
	if (value >= 1e6) return `${Number((value / 1e6).toPrecision(3))}M`;
	if (value >= 1e3) return `${Number((value / 1e3).toPrecision(3))}k`;
	return shown(value);
}
