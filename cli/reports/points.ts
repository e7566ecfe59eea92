/** The SAEs of a sweep's table, as points of FVU and L0. */
import { SaeError } from "../../core/errors.ts";
import type { MetricRow } from "../../core/plugin.ts";
import type { RecordStream } from "../../core/stream.ts";
import { OWN_COLUMNS } from "../sweep/results.ts";

export interface SaePoint {
	readonly row: MetricRow;
	readonly architecture: string;
	readonly d_sae: number;
	readonly l0: number;
	readonly fvu: number;
}

export interface SweepTable {
	readonly columns: readonly string[];
	readonly rows: readonly MetricRow[];
	/** Those rows that have figures above 0, as logarithms need. */
	readonly points: readonly SaePoint[];
	/** Whether FVU and L0 are those on held-out rows: where every SAE has them. */
	readonly heldOut: boolean;
}

const TRAINED = ["fvu", "l0"] as const;
const HELD_OUT = ["eval_fvu", "eval_l0"] as const;
const NEEDED = ["sae", "architecture", "d_sae", ...TRAINED];

/** @throws SaeError for a table that lacks a column, or has no SAE with figures. */
export async function readSweepTable({ schema, batches }: RecordStream): Promise<SweepTable> {
	const columns = schema.fields.map(({ name }) => name);
	const missing = NEEDED.filter((name) => !columns.includes(name));
	if (missing.length > 0) {
		throw new SaeError(
			`the table has no column ${missing.join(", ")}: this report reads what sae sweep writes; there is ${columns.join(", ")}`,
		);
	}
	const rows: MetricRow[] = [];
	for await (const batch of batches) {
		const vectors = columns.map((_, i) => batch.getChildAt(i)!);
		for (let row = 0; row < batch.numRows; row++) {
			rows.push(Object.fromEntries(columns.map((name, i) => [name, cell(vectors[i]!.get(row))])));
		}
	}
	const has = (row: MetricRow, names: readonly string[]) =>
		names.every((name) => (row[name] ?? null) !== null);
	const measured = rows.filter((row) => has(row, TRAINED) || has(row, HELD_OUT));
	const heldOut = measured.every((row) => has(row, HELD_OUT));
	const [fvu, l0] = heldOut ? HELD_OUT : TRAINED;
	const points = measured
		.map((row) => ({
			row,
			architecture: String(row.architecture),
			d_sae: Number(row.d_sae),
			l0: Number(row[l0]),
			fvu: Number(row[fvu]),
		}))
		.filter((point) =>
			[point.d_sae, point.l0, point.fvu].every((value) => value > 0 && Number.isFinite(value)),
		);
	if (points.length === 0) throw new SaeError("the table has no SAE with an FVU and an L0 above 0");
	return { columns, rows, points, heldOut };
}

/** Columns of the table that are options of architectures. */
export function optionColumns({ columns }: Pick<SweepTable, "columns">): string[] {
	return columns.filter((name) => !OWN_COLUMNS.includes(name));
}

function cell(value: unknown): MetricRow[string] {
	if (value === null || value === undefined) return null;
	if (typeof value === "bigint" || typeof value === "boolean") return Number(value);
	return typeof value === "number" ? (Number.isFinite(value) ? value : null) : String(value);
}
