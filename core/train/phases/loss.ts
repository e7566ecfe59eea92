/** Errors → the loss, the scale of each block's gradient, and what is reported. */
import { rowDeviations, spreadOverParts } from "../../../kernels/columns.ts";
import {
	type LossShape,
	lossAndScales,
	lossBindings,
	REPORT_VARIANCE,
	type TermShape,
} from "../../../kernels/loss.ts";
import { type Dispatch, dispatch } from "../../../kernels/program.ts";
import { lastBlock, type PlacedTerm } from "../plan.ts";
import type { Work } from "../work.ts";
import { sumColumns } from "./columns.ts";

/** `needs`: where the carry says how much room codes of any number need. */
export function lossPhase(work: Work, needs: LossShape["needs"]): Dispatch[] {
	const { gpu, shape, terms, buffers } = work;
	const loss: LossShape = {
		terms: terms.map((term) => termShape(work, term)),
		rows: shape.rows,
		tilted: shape.tilted === true,
		needs: work.unbounded ? needs : undefined,
		limit: work.entries,
		scalars: work.names.scalars,
		revival: work.spec.revival?.weight ?? 0,
	};
	const { residualDeviation: deviation, sums, carry, rowWeight, revivalLoss } = buffers;
	const extra = { deviation, sums, carry, rowWeight, revivalLoss };
	return [
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
export function reportVariance({ gpu, buffers }: Work): Dispatch {
	const { step, targetDeviation, report } = buffers;
	return dispatch(gpu, "report variance", REPORT_VARIANCE, [step, targetDeviation, report], 1);
}

/** Each row's squared distance from their mean. */
export function deviationPhase(work: Work, of: "residual" | "target"): Dispatch[] {
	const { gpu, shape, layout, terms, buffers } = work;
	const width = layout.outWidth;
	// The residual is the first term's error, up to its sign, which a variance does not see.
	const source =
		of === "residual"
			? { buffer: buffers.error, first: lastBlock(terms[0]!) * shape.rows }
			: { buffer: buffers.y, first: 0 };
	const sums = buffers[`${of}Sums`];
	return [
		...sumColumns(work, `sum ${of}`, width, { ...source, rows: shape.rows }, { buffer: sums, row: 0 }),
		dispatch(
			gpu,
			`${of} deviations`,
			rowDeviations({ width, d_in: layout.d_out, threads: gpu.rowThreads(width) }),
			[work.constants(shape.rows, source.first), source.buffer, sums, buffers[`${of}Deviation`]],
			shape.rows,
		),
	];
}

/** The same for a batch, from the distances of rows from their micro-batch's mean. */
export function spreadPhase(
	{ gpu, shape, layout, buffers, constants }: Work,
	of: "residual" | "target",
	rows: number,
): Dispatch {
	const width = layout.outWidth;
	const parts = Math.ceil(shape.rows / rows);
	return dispatch(
		gpu,
		`spread ${of}`,
		spreadOverParts({ width, d_in: layout.d_out, threads: gpu.rowThreads(width) }),
		[constants(shape.rows, rows, parts), buffers[`${of}Sums`], buffers[`${of}Deviation`]],
		parts,
	);
}
