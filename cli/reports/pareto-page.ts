/** The page of a sweep: FVU against L0, scaling laws where there are enough SAEs, and all figures. */
import { paretoFront } from "../../core/analysis/pareto.ts";
import type { MetricRow } from "../../core/plugin.ts";
import { chart, type Series, swatch } from "./chart.ts";
import { type Html, html, page } from "./html.ts";
import type { FittedLaw, Laws } from "./laws.ts";
import type { SaePoint, SweepTable } from "./points.ts";

export function paretoPage(table: SweepTable, laws: Laws, title: string): string {
	const { points, rows, heldOut } = table;
	const architectures = [...new Set(points.map(({ architecture }) => architecture))];
	const toneOf = (architecture: string) => architectures.indexOf(architecture);
	const fronts = frontsOf(points);
	const onFront = new Set(fronts.flatMap(({ front }) => front.map(({ row }) => row)));
	const measured = heldOut ? "on held-out rows" : "on the last batch of training";
	const left = rows.length - points.length;
	const body = html`<header>
<h1>${title}</h1>
<p class="soft">${rows.length} SAEs; FVU and L0 ${measured}.${left > 0 ? ` ${left} without figures, e.g. diverged, ${left === 1 ? "is" : "are"} in the table only.` : ""}</p>
</header>
<figure class="pareto">
<ul class="legend">${architectures.map((name) => html`<li>${swatch(toneOf(name))}<span>${name}</span></li>`)}</ul>
${chart({
	label: `FVU against L0 for ${points.length} SAEs; the table below has the same figures`,
	x: "L0, active latents per row",
	y: `FVU ${measured}`,
	names: "d_sae",
	series: fronts.map(({ of, front }) => frontSeries(of, front, toneOf(of[0]!.architecture), onFront)),
})}
<figcaption class="soft">Lower and further left is better. A line joins the Pareto front of one architecture at one
d_sae, the number at its end; open marks are beaten there by another SAE with no more active latents.</figcaption>
</figure>
${lawSection(laws, toneOf)}
<section class="results">
<h2>All SAEs</h2>
${resultTable(table, onFront)}
</section>`;
	return page(title, body);
}

interface Front {
	/** All SAEs of one architecture and d_sae. */
	readonly of: readonly SaePoint[];
	readonly front: readonly SaePoint[];
}

function frontsOf(points: readonly SaePoint[]): Front[] {
	const groups = Map.groupBy(points, ({ architecture, d_sae }) => `${d_sae} ${architecture}`);
	return [...groups.values()].map((of) => ({
		of,
		front: paretoFront(
			of,
			({ l0 }) => l0,
			({ fvu }) => fvu,
		),
	}));
}

function frontSeries(
	of: readonly SaePoint[],
	front: readonly SaePoint[],
	tone: number,
	onFront: ReadonlySet<MetricRow>,
): Series {
	return {
		tone,
		name: whole(of[0]!.d_sae),
		line: front.map(({ l0, fvu }) => ({ x: l0, y: fvu })),
		marks: of
			.map(({ row, l0, fvu }) => ({ x: l0, y: fvu, title: describe(row), open: !onFront.has(row) }))
			// Those on the front lie on top.
			.sort((a, b) => Number(b.open) - Number(a.open)),
	};
}

/** What hovering shows: everything that is known of an SAE. */
function describe(row: MetricRow): string {
	const lines = Object.entries(row).filter(([name, value]) => value !== null && name !== "sae");
	return [row.sae, ...lines.map(([name, value]) => `${name}: ${cellText(value!)}`)].join("\n");
}

function lawSection({ fitted, problems }: Laws, toneOf: (architecture: string) => number): Html | undefined {
	const joint = fitted.filter(({ law }) => law === "n, k");
	const bySize = fitted.filter(({ law }) => law === "n");
	const notes = problems.map((problem) => html`<p class="soft">No scaling law for ${problem}.</p>`);
	if (fitted.length === 0) return html`${notes}`;
	return html`<h2>Scaling laws</h2>
<p class="soft">How the loss L, here the FVU, falls with n = d_sae latents of which k are active (Gao et al. 2024), fitted
by least squares on ln L to the best SAE of each size and sparsity. Errors are standard errors.</p>
${joint.map((law) => jointLaw(law, toneOf(law.architecture)))}
${bySize.length > 0 ? sizeLaws(bySize) : undefined}
${notes}`;
}

function jointLaw(law: FittedLaw, tone: number): Html {
	const { architecture, parameters, points, r2, rms } = law;
	const sparsities = [...new Set(points.map(({ k }) => k))].sort((a, b) => a - b);
	const repeated = sparsities.length < points.length;
	const [low, high] = [Math.min(...points.map(({ n }) => n)), Math.max(...points.map(({ n }) => n))];
	const curve = (k: number) =>
		Array.from({ length: 33 }, (_, i) => low * (high / low) ** (i / 32)).map((n) => ({
			x: n,
			y: law.predict(n, k),
		}));
	const marks = (of: typeof points) =>
		of.map(({ n, k, loss, fitted, residual }) => ({
			x: n,
			y: loss,
			title: `n ${whole(n)}, k ${digits(k)}\nFVU ${digits(loss)}\nlaw ${digits(fitted)}\nresidual of ln L ${digits(residual)}`,
			open: false,
		}));
	return html`<h3>${architecture}</h3>
<p><code>L(n, k) = exp(alpha + beta_k ln k + beta_n ln n + gamma ln k ln n) + exp(zeta + eta ln k)</code></p>
${grid(
	["parameter", "value", "standard error"],
	parameters.map(({ name, value, error }) => [name, value, error]),
)}
<p>R² of ln L ${digits(r2)}, root mean square residual ${digits(rms)}, ${points.length} points.</p>
${
	repeated
		? html`<figure>${chart({
				label: `FVU against d_sae for ${architecture}, with the fitted law`,
				x: "n, latents (d_sae)",
				y: "FVU; lines are the law",
				names: "k",
				series: sparsities.map((k) => ({
					tone,
					name: digits(k),
					line: curve(k),
					marks: marks(points.filter((point) => point.k === k)),
				})),
			})}</figure>`
		: undefined
}
<details><summary>Residuals</summary>
${grid(
	["n", "k", "FVU", "law", "residual of ln L"],
	points.map(({ n, k, loss, fitted, residual }) => [n, k, loss, fitted, residual]),
)}
</details>`;
}

function sizeLaws(laws: readonly FittedLaw[]): Html {
	const names = laws[0]!.parameters.map(({ name }) => name);
	return html`<h3>At each k</h3>
<p><code>L(n) = exp(alpha + beta_n ln n) + exp(zeta)</code></p>
${grid(
	["architecture", "k", ...names, "R² of ln L", "rms residual", "points"],
	laws.map(({ architecture, k, parameters, r2, rms, points }) => [
		architecture,
		k!,
		...parameters.map(({ value }) => value),
		r2,
		rms,
		points.length,
	]),
)}`;
}

/** Every row of the table. Columns with one value for all stand above it; those with none are left out. */
function resultTable({ columns, rows }: SweepTable, onFront: ReadonlySet<MetricRow>): Html {
	const used = columns.filter((name) => rows.some((row) => row[name] !== null));
	const isSame = (name: string) => rows.length > 1 && rows.every((row) => row[name] === rows[0]![name]);
	const same = used.filter(isSame);
	const varied = used.filter((name) => !isSame(name));
	const shared = same.map((name) => `${name} ${cellText(rows[0]![name]!)}`).join(", ");
	return html`${same.length > 0 ? html`<p class="soft">All have ${shared}.</p>` : undefined}
${grid(
	["front", ...varied],
	rows.map((row) => [onFront.has(row) ? "●" : "", ...varied.map((name) => row[name]!)]),
)}`;
}

type Cell = MetricRow[string];

/** Columns of numbers are set to the right, and have one form. */
function grid(head: readonly string[], rows: readonly (readonly Cell[])[]): Html {
	const columns = head.map((_, i) => rows.map((row) => row[i]!));
	const numeric = columns.map((cells) => cells.every((cell) => typeof cell !== "string"));
	// Settings are short as they are; what was measured gets four digits throughout.
	const isShort = columns.map((cells) =>
		cells.every((cell) => cell === null || digits(Number(cell)) === String(cell)),
	);
	const side = (i: number) => (numeric[i] ? "number" : "text");
	const text = (cell: Cell, i: number) => {
		if (cell === null) return "–";
		return numeric[i] && !isShort[i] ? Number(cell).toPrecision(4) : String(cell);
	};
	return html`<div class="scroll"><table>
<thead><tr>${head.map((name, i) => html`<th class="${side(i)}">${name}</th>`)}</tr></thead>
<tbody>${rows.map((row) => html`<tr>${row.map((cell, i) => html`<td class="${side(i)}">${text(cell, i)}</td>`)}</tr>\n`)}</tbody>
</table></div>`;
}

function cellText(value: string | number): string {
	return typeof value === "number" ? digits(value) : value;
}

/** Whole numbers whole, others with four digits. */
function digits(value: number): string {
	return Number.isInteger(value) ? String(value) : String(Number(value.toPrecision(4)));
}

function whole(value: number): string {
	return value.toLocaleString("en");
}
