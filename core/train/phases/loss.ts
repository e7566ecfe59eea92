/** Errors → the loss, the scale of each term's gradient, and what is reported. */
import { rowDeviations } from "../../../kernels/columns.ts";
import { lossAndScales, REPORT_VARIANCE } from "../../../kernels/loss.ts";
import { type Dispatch, dispatch } from "../../../kernels/program.ts";
import type { Work } from "../work.ts";
import { sumColumns } from "./columns.ts";

export function lossPhase(work: Work): Dispatch[] {
	const { gpu, shape, terms, buffers } = work;
	const usesVariance = terms.some((term) => term.reduction === "variance");
	const deviation = work.floats("residual deviations", shape.rows);
	return [
		// The residual is the first term's error, up to its sign, which a variance does not see.
		...(usesVariance ? deviations(work, "residual", buffers.error, deviation) : []),
		dispatch(
			gpu,
			"loss",
			lossAndScales(
				terms.map(({ weight, reduction, latents }) => ({ weight, reduction, deadOnly: latents === "dead" })),
				shape.rows,
			),
			[
				buffers.step,
				buffers.squared,
				buffers.span,
				buffers.dead,
				buffers.control,
				buffers.report,
				...(usesVariance ? [deviation] : []),
			],
			1,
		),
	];
}

/** The variance of the batch itself, which makes an FVU of the error; only for steps that are logged. */
export function measurePhase(work: Work): Dispatch[] {
	const { gpu, shape, buffers } = work;
	const deviation = work.floats("input deviations", shape.rows);
	return [
		...deviations(work, "input", buffers.x, deviation),
		dispatch(gpu, "report variance", REPORT_VARIANCE, [buffers.step, deviation, buffers.report], 1),
	];
}

/** Each of the first `rows` rows' squared distance from their mean. */
function deviations(work: Work, label: string, source: GPUBuffer, target: GPUBuffer): Dispatch[] {
	const { gpu, shape, layout } = work;
	const sums = work.floats(`${label} sums`, layout.width);
	return [
		...sumColumns(
			work,
			`sum ${label}`,
			{ buffer: source, first: 0, rows: shape.rows },
			{ buffer: sums, row: 0 },
		),
		dispatch(
			gpu,
			`${label} deviations`,
			rowDeviations({ width: layout.width, d_in: shape.d_in, threads: gpu.rowThreads(layout.width) }),
			[work.constants(shape.rows, 0), source, sums, target],
			shape.rows,
		),
	];
}
