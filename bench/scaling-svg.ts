/** The drawing of scaling.ts: a row of panels for each figure, a column for each size that changes. */
import { type Axis, logAxis } from "../cli/reports/axis.ts";
import { type Html, html } from "../cli/reports/html.ts";

export interface Panels {
	readonly title: string;
	/** Sizes, one for each column. */
	readonly columns: readonly string[];
	readonly rows: readonly { readonly title: string; readonly dashed?: string | undefined }[];
	readonly lines: readonly Line[];
	/** What stands for each line, by its number. */
	readonly names: readonly string[];
}

/** Of one panel. */
export interface Line {
	readonly row: number;
	readonly column: number;
	/** Number of its colour and mark. */
	readonly number: number;
	readonly dashed: boolean;
	readonly points: readonly (readonly [x: number, y: number])[];
}

const PANEL = { width: 300, height: 240, gapX: 28, gapY: 76 };
const MARGIN = { left: 64, right: 20, top: 92, bottom: 52 };
const TICKS = 8;
const MARKS = ["M-4 0a4 4 0 1 0 8 0a4 4 0 1 0 -8 0Z", "M-3.6 -3.6H3.6V3.6H-3.6Z", "M0 -4.8L4.6 3.5H-4.6Z"];
const COLOURS = [
	["#1f6fd6", "#6ea8ff"],
	["#d3590a", "#ff9c57"],
	["#128257", "#48c78e"],
] as const;

const theme = (which: 0 | 1, ground: string, ink: string, soft: string, line: string) =>
	`--ground:${ground};--ink:${ink};--soft:${soft};--line:${line};${COLOURS.map((pair, i) => `--c${i}:${pair[which]}`).join(";")}`;

const STYLE = `
svg{${theme(0, "#fff", "#1b1f24", "#5a6472", "#e3e7ec")};font:12px system-ui,sans-serif}
@media (prefers-color-scheme:dark){svg{${theme(1, "#14171b", "#e8ebef", "#9aa5b3", "#2b323a")}}}
.ground{fill:var(--ground)} text{fill:var(--soft)} .title{fill:var(--ink);font-size:13px} .head{fill:var(--ink);font-size:15px;font-weight:600}
.grid{stroke:var(--line);fill:none} .frame{stroke:var(--soft);fill:none}
.line{fill:none;stroke:currentColor;stroke-width:2;stroke-linejoin:round} .dashed{stroke-dasharray:5 4;opacity:.85}
.mark{fill:currentColor} .dashed-mark{fill:var(--ground);stroke:currentColor;stroke-width:1.5}
${COLOURS.map((_, i) => `.c${i}{color:var(--c${i})}`).join("")}`;

export function panels({ title, columns, rows, lines, names }: Panels): string {
	const width = MARGIN.left + columns.length * (PANEL.width + PANEL.gapX) - PANEL.gapX + MARGIN.right;
	const height = MARGIN.top + rows.length * (PANEL.height + PANEL.gapY) - PANEL.gapY + MARGIN.bottom;
	const drawn = rows.flatMap((row, r) => {
		const ofRow = lines.filter((line) => line.row === r);
		if (ofRow.length === 0) return [];
		// All panels of a row can be compared.
		const up = axisOf(ofRow, 1);
		const top = MARGIN.top + r * (PANEL.height + PANEL.gapY);
		return columns.map((name, column) => {
			const own = ofRow.filter((line) => line.column === column);
			if (own.length === 0) return html``;
			const left = MARGIN.left + column * (PANEL.width + PANEL.gapX);
			// What was measured, and nothing between.
			const ticks = [...new Set(own.flatMap(({ points }) => points.map(([x]) => x)))];
			const across = { ...axisOf(own, 0), ticks };
			const heading =
				column === 0 ? html`<text class="title" x="-44" y="-12">${row.title}</text>` : undefined;
			return html`<g transform="translate(${left} ${top})">${heading}${panel(name, across, up, own, column === 0)}</g>`;
		});
	});
	return html`<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 ${width} ${height}" width="${width}" height="${height}" role="img" aria-label="${title}">
<style>${STYLE}</style>
<rect class="ground" width="${width}" height="${height}"/>
<text class="head" x="20" y="26">${title}</text>
${legend(names, rows)}
${drawn}
</svg>
`.text;
}

function axisOf(lines: readonly Line[], which: 0 | 1): Axis {
	return logAxis(
		lines.flatMap(({ points }) => points.map((point) => point[which])),
		TICKS,
	);
}

function panel(name: string, across: Axis, up: Axis, lines: readonly Line[], numbered: boolean): Html {
	const { width, height } = PANEL;
	const x = (value: number) => tenths(across.at(value) * width);
	const y = (value: number) => tenths(height - up.at(value) * height);
	return html`${across.ticks.map((tick) => html`<path class="grid" d="M${x(tick)} 0V${height}"/><text x="${x(tick)}" y="${height + 17}" text-anchor="middle">${short(tick)}</text>`)}
${up.ticks.map((tick) => html`<path class="grid" d="M0 ${y(tick)}H${width}"/>${numbered ? html`<text x="-8" y="${y(tick) + 4}" text-anchor="end">${short(tick)}</text>` : undefined}`)}
<path class="frame" d="M0 0V${height}H${width}"/>
<text class="title" x="${width / 2}" y="${height + 37}" text-anchor="middle">${name}</text>
${lines.map(({ number, dashed, points }) => html`<g class="c${number}"><path class="line${dashed ? " dashed" : ""}" d="${points.map(([px, py], i) => `${i === 0 ? "M" : "L"}${x(px)} ${y(py)}`).join("")}"/>${points.map(([px, py]) => html`<path class="${dashed ? "dashed-mark" : "mark"}" d="${MARKS[number]!}" transform="translate(${x(px)} ${y(py)})"><title>${short(px)}: ${py.toPrecision(3)}</title></path>`)}</g>`)}`;
}

/** What colours mean, and what dashes do. */
function legend(names: readonly string[], rows: Panels["rows"]): Html[] {
	const dashed = rows.flatMap(({ dashed }) => dashed ?? []);
	const entries = [
		...names.map((name, number) => ({ name, number, dashed: false })),
		...dashed.map((name) => ({ name, number: -1, dashed: true })),
	];
	let left = 20;
	return entries.map(({ name, number, dashed }) => {
		const at = left;
		left += 60 + name.length * 6.6;
		const mark =
			number < 0 ? undefined : html`<path class="mark" d="${MARKS[number]!}" transform="translate(15 0)"/>`;
		return html`<g class="c${number}" transform="translate(${at} 50)"><path class="line${dashed ? " dashed" : ""}" d="M0 0H30"/>${mark}<text x="38" y="4">${name}</text></g>`;
	});
}

/** 4096 as 4k, where it is whole. */
function short(value: number): string {
	if (value >= 2 ** 20 && value % 2 ** 20 === 0) return `${value / 2 ** 20}M`;
	if (value >= 1024 && value % 1024 === 0) return `${value / 1024}k`;
	return String(value);
}

function tenths(value: number): number {
	return Math.round(value * 10) / 10;
}
