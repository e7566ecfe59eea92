/** Points and lines on two logarithmic axes, as SVG. */
import { type Axis, logAxis } from "./axis.ts";
import { type Html, html, tone } from "./html.ts";

export interface Chart {
	/** What the chart shows, for those who don't see it. */
	readonly label: string;
	readonly x: string;
	readonly y: string;
	/** What the names at the right are. */
	readonly names: string;
	readonly series: readonly Series[];
}

/** Points of one colour and shape, and a line. */
export interface Series {
	/** Number of the colour and shape. */
	readonly tone: number;
	readonly marks: readonly Mark[];
	readonly line: readonly Place[];
	/** Stands at the right, on the height of the line's end. */
	readonly name: string;
}

export interface Place {
	readonly x: number;
	readonly y: number;
}

export interface Mark extends Place {
	/** Shown on hover, lines of text. */
	readonly title: string;
	readonly open: boolean;
}

const SIZE = { width: 960, height: 540 };
const PLOT = { left: 72, right: 96, top: 30, bottom: 54 };
const TICKS = { x: 10, y: 10 };
/** Height of a line of text. */
const LINE = 14;

export function chart({ label, x, y, names: kind, series }: Chart): Html {
	const places = series.flatMap(({ marks, line }) => [...marks, ...line]);
	const right = SIZE.width - PLOT.right;
	const bottom = SIZE.height - PLOT.bottom;
	const across = placed(
		logAxis(
			places.map((place) => place.x),
			TICKS.x,
		),
		PLOT.left,
		right,
	);
	const up = placed(
		logAxis(
			places.map((place) => place.y),
			TICKS.y,
		),
		bottom,
		PLOT.top,
	);
	const at = (place: Place) => ({ x: across.at(place.x), y: up.at(place.y) });
	return html`<svg viewBox="0 0 ${SIZE.width} ${SIZE.height}" role="img" aria-label="${label}">
${across.ticks.map(([value, at]) => html`<path class="grid" d="M${at} ${PLOT.top}V${bottom}"/><text x="${at}" y="${bottom + 18}" text-anchor="middle">${value}</text>`)}
${up.ticks.map(([value, at]) => html`<path class="grid" d="M${PLOT.left} ${at}H${right}"/><text x="${PLOT.left - 8}" y="${at + 4}" text-anchor="end">${value}</text>`)}
<path class="frame" d="M${PLOT.left} ${PLOT.top}V${bottom}H${right}"/>
<text class="title" x="${(PLOT.left + right) / 2}" y="${SIZE.height - 10}" text-anchor="middle">${x}</text>
<text class="title" x="${PLOT.left - 56}" y="${PLOT.top - 14}">${y}</text>
${series.map(({ tone: n, line }) => html`<path class="curve ${tone(n)}" d="${path(line.map(at))}"/>`)}
${series.map(({ tone: n, marks }) => html`<g class="${tone(n)}">${marks.map((mark) => point(mark, at(mark), n))}</g>`)}
<text x="${right + 8}" y="${PLOT.top - 14}">${kind}</text>
${names(series, at, right, bottom)}
</svg>`;
}

/** The line and mark of a legend's entry. */
export function swatch(n: number): Html {
	return html`<svg viewBox="0 0 34 16" class="${tone(n)}" aria-hidden="true"><path class="curve" d="M1 8H33"/><path class="mark" d="${shape(n)}" transform="translate(17 8)"/></svg>`;
}

interface PlacedAxis {
	at(value: number): number;
	/** Text and place of each tick. */
	readonly ticks: readonly (readonly [string, number])[];
}

function placed({ at, ticks }: Axis, from: number, to: number): PlacedAxis {
	const place = (value: number) => round(from + (to - from) * at(value));
	return { at: place, ticks: ticks.map((value) => [number(value), place(value)]) };
}

function point({ title, open }: Mark, { x, y }: Place, n: number): Html {
	return html`<g class="point" transform="translate(${x} ${y})"><title>${title}</title><circle class="target" r="11"/><path class="mark${open ? " open" : ""}" d="${shape(n)}"/></g>`;
}

/** Marks of about equal weight: circle, square, triangle, diamond, and the triangle upside down. */
const SHAPES = [
	"M-4.5 0a4.5 4.5 0 1 0 9 0a4.5 4.5 0 1 0 -9 0Z",
	"M-4 -4H4V4H-4Z",
	"M0 -5.2L5 3.8H-5Z",
	"M0 -5.8L5.8 0L0 5.8L-5.8 0Z",
	"M0 5.2L5 -3.8H-5Z",
];

function shape(n: number): string {
	return SHAPES[n % SHAPES.length]!;
}

function path(places: readonly Place[]): string {
	return places.map(({ x, y }, i) => `${i === 0 ? "M" : "L"}${x} ${y}`).join("");
}

/** The name of each line at the right edge, beside its end or as near as the other names let it. */
function names(
	series: readonly Series[],
	at: (place: Place) => Place,
	right: number,
	bottom: number,
): Html[] {
	const ends = series
		.filter(({ line, name }) => line.length > 0 && name !== "")
		.map(({ tone, line, name }) => ({ tone, name, end: at(line.at(-1)!) }))
		.sort((a, b) => a.end.y - b.end.y);
	const heights = spread(
		ends.map(({ end }) => end.y),
		LINE,
		bottom,
	);
	return ends.map(({ tone: n, name, end }, i) => {
		const y = heights[i]!;
		return html`<g class="${tone(n)}"><path class="leader" d="M${end.x + 7} ${end.y}L${right + 4} ${y}"/><text class="name" x="${right + 8}" y="${y + 4}">${name}</text></g>`;
	});
}

/** Ascending heights, moved apart to a distance of at least `step`, down and, from `most` on, up. */
export function spread(heights: readonly number[], step: number, most: number): number[] {
	const down: number[] = [];
	for (const height of heights) down.push(Math.max(height, (down.at(-1) ?? Number.NEGATIVE_INFINITY) + step));
	const up: number[] = [];
	for (const height of down.reverse()) up.push(round(Math.min(height, (up.at(-1) ?? most + step) - step)));
	return up.reverse();
}

function number(value: number): string {
	return value.toLocaleString("en", { maximumSignificantDigits: 6 });
}

function round(value: number): number {
	return Math.round(value * 10) / 10;
}
