/** Errors → the loss, the scale of each block's gradient, and what is reported. */
import { rowDeviations } from "../../../kernels/columns.ts";
import {
	type LossShape,
	lossAndScales,
	lossBindings,
	REPORT_VARIANCE,
	type TermShape,
} from "../../../kernels/loss.ts";
import { type Dispatch, dispatch } from "../../../kernels/program.ts";
import { lastBlock, type PlacedTerm, type Work } from "../work.ts";
import { sumColumns } from "./columns.ts";

export function lossPhase(work: Work): Dispatch[] {
	const { gpu, shape, terms, buffers, layout } = work;
	const usesVariance = terms.some((term) => term.reduction === "variance");
	const deviation = work.floats("residual deviations", shape.rows);
	const loss: LossShape = {
		terms: terms.map((term) => termShape(work, term)),
		rows: shape.rows,
		tilted: shape.tilted === true,
		slots: work.slots.count,
		limit: work.entries,
		scalars: work.names.scalars,
		revival: work.spec.revival?.weight ?? 0,
	};
	const { sums, carry, rowWeight, revivalLoss } = buffers;
	const extra = { deviation, sums, carry, rowWeight, revivalLoss };
	const first = terms[0]!;
	// The residual is the first term's error, up to its sign, which a variance does not see.
	const residual = { buffer: buffers.error, first: lastBlock(first) * shape.rows };
	return [
		...(usesVariance ? deviations(work, "residual", layout.outWidth, residual, deviation) : []),
		dispatch(
			gpu,
			"loss",
			lossAndScales(loss),
			[
				buffers.step,
				buffers.squared,
				buffers.span,
				buffers.dead,
				buffers.control,
				buffers.report,
				...lossBindings(loss).map((name) => extra[name]),
			],
			1,
		),
	];
}

function termShape({ spec, names }: Work, term: PlacedTerm): TermShape {
	const { weight, reduction, latents, firstBlock, weights, activated, penalty } = term;
	return {
		weight,
		reduction,
		deadOnly: latents === "dead",
		firstBlock,
		weights,
		activated,
		...(penalty && {
			penalty: {
				scalar: names.scalars.indexOf(penalty.weight),
				controlled: penalty.weight === spec.sparsity,
				...(penalty.batch && {
					batch: { ...penalty.batch, beside: penalty.batch.beside !== undefined },
				}),
			},
		}),
	};
}

/** The variance of what is reconstructed, which makes an FVU of the error; only for steps that are logged. */
export function measurePhase(work: Work): Dispatch[] {
	const { gpu, shape, layout, buffers } = work;
	const deviation = work.floats("target deviations", shape.rows);
	return [
		...deviations(work, "target", layout.outWidth, { buffer: buffers.y, first: 0 }, deviation),
		dispatch(gpu, "report variance", REPORT_VARIANCE, [buffers.step, deviation, buffers.report], 1),
	];
}

/** Each row's squared distance from their mean. */
function deviations(
	work: Work,
	label: string,
	width: number,
	source: { readonly buffer: GPUBuffer; readonly first: number },
	target: GPUBuffer,
): Dispatch[] {
	const { gpu, shape, layout } = work;
	const sums = work.floats(`${label} sums`, width);
	return [
		...sumColumns(work, `sum ${label}`, width, { ...source, rows: shape.rows }, { buffer: sums, row: 0 }),
		dispatch(
			gpu,
			`${label} deviations`,
			rowDeviations({ width, d_in: layout.d_out, threads: gpu.rowThreads(width) }),
			[work.constants(shape.rows, source.first), source.buffer, sums, target],
			shape.rows,
		),
	];
}
