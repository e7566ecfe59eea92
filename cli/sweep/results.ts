/** From the metrics of a sweep's groups to its table: a row for each SAE. */
import { type CellType, columnTypes } from "../../core/arrow/metrics.ts";
import type { MetricRow } from "../../core/plugin.ts";
import type { TrainMetrics } from "../../core/train/job.ts";
import type { GridSae } from "./grid.ts";
import type { LogRow } from "./state.ts";

/** The columns of every sweep; those of the architectures' options stand after `lr`. */
const BEFORE = {
	sae: "string",
	architecture: "string",
	d_sae: "number",
	seed: "number",
	lr: "number",
} as const satisfies Record<string, CellType>;
const AFTER = {
	tokens: "number",
	fvu: "number",
	eval_fvu: "number",
	l0: "number",
	eval_l0: "number",
	dead: "number",
	seconds: "number",
	path: "string",
} as const satisfies Record<string, CellType>;

/** Columns that are no option of an architecture. */
export const OWN_COLUMNS: readonly string[] = [...Object.keys(BEFORE), ...Object.keys(AFTER)];

/** The columns of a sweep's table, with their types. */
export function resultColumns(
	rows: readonly MetricRow[],
	varied: readonly string[],
): Record<string, CellType> {
	const types = columnTypes(rows);
	const options = varied.map((key) => [columnOf(key), types[columnOf(key)] ?? "string"]);
	return { ...BEFORE, ...Object.fromEntries(options), ...AFTER };
}

/**
 * One SAE's row: its last figures on a batch and on held-out rows, from all metrics of its group. Without figures and
 * path when it diverged.
 */
export function resultRow(
	{ name, architecture, d_sae, seed, lr, target_l0, options }: GridSae,
	varied: readonly string[],
	log: readonly LogRow[],
	path: string,
): MetricRow {
	const own = log.filter(({ sae }) => sae === name);
	const rows = own.filter((row): row is TrainMetrics => !("diverged" in row));
	const diverged = rows.length < own.length;
	const measured = diverged ? undefined : rows.findLast(({ fvu }) => fvu !== null);
	const evaluated = diverged ? undefined : rows.findLast(({ eval_fvu }) => eval_fvu !== null);
	return {
		sae: name,
		architecture: architecture.name,
		d_sae,
		seed,
		lr: lr ?? null,
		...Object.fromEntries(varied.map((key) => [columnOf(key), cell({ target_l0, ...options }[key])])),
		tokens: rows.at(-1)?.tokens ?? null,
		fvu: measured?.fvu ?? null,
		eval_fvu: evaluated?.eval_fvu ?? null,
		l0: measured?.l0 ?? null,
		eval_l0: evaluated?.eval_l0 ?? null,
		dead: measured?.dead ?? null,
		seconds: totalSeconds(rows),
		path: diverged ? null : path,
	};
}

/** An option's column has its name, unless the table has another column of that name. */
function columnOf(key: string): string {
	return OWN_COLUMNS.includes(key) ? `${key}_option` : key;
}

function cell(value: unknown): MetricRow[string] {
	if (value === undefined || value === null) return null;
	if (typeof value === "number" || typeof value === "string") return value;
	return typeof value === "boolean" ? Number(value) : JSON.stringify(value);
}

/** Each process that trained counted its seconds from 0. */
function totalSeconds(rows: readonly TrainMetrics[]): number {
	const ends = rows.filter(({ seconds }, i) => !(rows[i + 1] && rows[i + 1]!.seconds >= seconds));
	return ends.reduce((sum, { seconds }) => sum + seconds, 0);
}
