/** The scaling laws of a sweep: one over all sizes and sparsities of an architecture, and one for each k. */
import {
	fitScalingLaw,
	type LawName,
	type ScalingLaw,
	type ScalingPoint,
} from "../../core/analysis/scaling-law.ts";
import { isSaeError } from "../../core/errors.ts";
import { optionColumns, type SaePoint, type SweepTable } from "./points.ts";

export interface FittedLaw extends ScalingLaw {
	readonly architecture: string;
	/** Of a law of one k. */
	readonly k?: number;
}

export interface Laws {
	readonly fitted: readonly FittedLaw[];
	/** Why others could not be fitted, a line each. */
	readonly problems: readonly string[];
}

/**
 * Fits what can be fitted. Of SAEs that differ in seed, learning rate and the like, the one of the lowest FVU counts.
 * Sparsity is the option k, or else the measured L0.
 */
export function fitLaws(table: SweepTable): Laws {
	const fitted: FittedLaw[] = [];
	const problems: string[] = [];
	for (const [architecture, points] of Map.groupBy(table.points, (point) => point.architecture)) {
		const best = bestPoints(points, optionColumns(table));
		const attempt = (law: LawName, of: readonly ScalingPoint[], k?: number) => {
			try {
				fitted.push({ ...fitScalingLaw(law, of), architecture, ...(k === undefined ? {} : { k }) });
			} catch (error) {
				if (!isSaeError(error)) throw error;
				problems.push(`${architecture}${k === undefined ? "" : `, k ${k}`}: ${error.message}`);
			}
		};
		attempt("n, k", best);
		if (points.every(({ row }) => typeof row.k === "number")) {
			for (const [k, ofK] of Map.groupBy(best, (point) => point.k)) attempt("n", ofK, k);
		}
	}
	return { fitted, problems };
}

function bestPoints(points: readonly SaePoint[], options: readonly string[]): ScalingPoint[] {
	const settings = ({ row, d_sae }: SaePoint) =>
		JSON.stringify([d_sae, typeof row.k === "number" ? row.k : options.map((name) => row[name])]);
	return [...Map.groupBy(points, settings).values()].map((same) => {
		const { row, d_sae, l0, fvu } = same.reduce((best, next) => (next.fvu < best.fvu ? next : best));
		return { n: d_sae, k: typeof row.k === "number" ? row.k : l0, loss: fvu };
	});
}
