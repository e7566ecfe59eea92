/** Training curves from the metrics that `sae train` writes. */
import { SaeError } from "../../../core/errors.ts";
import type { RecordStream } from "../../../core/stream.ts";
import type { Curve } from "./format.ts";

/** Figures that are drawn, where a table has them. */
const DRAWN = ["fvu", "l0", "dead", "loss"];

export interface Training {
	readonly curves: readonly Curve[];
	/** The last value of each figure, held-out ones included. */
	readonly last: Readonly<Record<string, number>>;
}

/** @throws SaeError for a table of several SAEs, or one that lacks tokens. */
export async function readTraining({ schema, batches }: RecordStream, name: string): Promise<Training> {
	const columns = schema.fields.map((field) => field.name);
	if (!columns.includes("tokens")) {
		throw new SaeError(`${name}: has no column tokens; --metrics takes what sae train writes`);
	}
	const curves = DRAWN.filter((column) => columns.includes(column)).map((name) => ({
		name,
		points: [] as [number, number][],
	}));
	const last: Record<string, number> = {};
	const saes = new Set<string>();
	for await (const batch of batches) {
		const column = (name: string) => batch.getChild(name);
		for (let row = 0; row < batch.numRows; row++) {
			saes.add(String(column("sae")?.get(row) ?? ""));
			const tokens = Number(column("tokens")!.get(row));
			for (const { name, points } of curves) {
				const value = column(name)!.get(row);
				if (value !== null && Number.isFinite(Number(value))) points.push([tokens, Number(value)]);
			}
			for (const name of [...DRAWN, "eval_fvu", "eval_l0"]) {
				const value = column(name)?.get(row);
				if (value !== null && value !== undefined) last[name] = Number(value);
			}
		}
	}
	if (saes.size > 1) {
		throw new SaeError(
			`${name}: has the metrics of ${saes.size} SAEs (${[...saes].slice(0, 4).join(", ")}, …); keep the rows of one`,
		);
	}
	return { curves: curves.filter(({ points }) => points.length > 1), last };
}
