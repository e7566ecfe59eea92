/** The dense matrices that some architectures have: a skip connection, and what an archetypal decoder is made of. */
import { COMPOSE_ATOMS, passBackToAtoms, SUM_NUMBERS } from "../../../kernels/archetypes.ts";
import {
	denseNorms,
	type Projection,
	transposeGroups,
	transposeRows,
	updateDense,
} from "../../../kernels/dense.ts";
import { type Dispatch, dispatch } from "../../../kernels/program.ts";
import type { Matrix } from "../../gpu/parameters.ts";
import { productDispatch } from "../../gpu/product.ts";
import { biasBlocks } from "../plan.ts";
import type { Work } from "../work.ts";

interface Target {
	readonly name: string;
	readonly parameter: Matrix;
	/** As its weights lie. */
	readonly gradient: GPUBuffer;
	readonly project?: Projection;
}

function targets({ spec, parameters, buffers }: Work): Target[] {
	const { W_skip, mixture, relaxation, log_scale } = parameters.dense;
	return [
		...(W_skip ? [{ name: "W_skip", parameter: W_skip, gradient: buffers.skipGradient }] : []),
		...(spec.decoder
			? [
					{
						name: "mixture",
						parameter: mixture!,
						gradient: buffers.mixtureGradient,
						project: { kind: "simplex" } as const,
					},
					{
						name: "relaxation",
						parameter: relaxation!,
						gradient: buffers.decoderGradient,
						project: { kind: "ball", radius: spec.decoder.delta } as const,
					},
					{ name: "log scale", parameter: log_scale!, gradient: buffers.scaleGradient },
				]
			: []),
	];
}

/** What the skip connection says is taken from the targets, so that codes have the rest to explain. */
export function skipPhase({ gpu, layout, buffers, parameters, constants }: Work): Dispatch[] {
	const { W_skip } = parameters.dense;
	if (!W_skip) return [];
	const product = {
		rows: layout.paddedRows,
		columns: layout.outWidth,
		inner: layout.width,
		a: buffers.x,
		b: W_skip.weights[0]!,
		out: buffers.unskipped,
		use: "subtract",
		from: buffers.y,
	} as const;
	return [productDispatch(gpu, "skip connection", product, constants)];
}

/** Gradients of W_skip, from errors and rows as they arrived. */
export function skipGradientPhase(work: Work): Dispatch[] {
	const { gpu, shape, layout, terms, buffers, parameters, constants, common } = work;
	const { W_skip } = parameters.dense;
	if (!W_skip) return [];
	const { width, outWidth, paddedRows } = layout;
	const blocks = biasBlocks(terms);
	const weighted = shape.tilted === true;
	return [
		dispatch(
			gpu,
			"transpose errors",
			transposeRows({ blocks, weighted }),
			[
				constants(shape.rows, outWidth, paddedRows),
				buffers.error,
				buffers.transposedErrors,
				buffers.control,
				...(weighted ? [buffers.rowWeight] : []),
			],
			transposeGroups(shape.rows, outWidth),
		),
		transposed(work, "transpose rows", buffers.x, buffers.transposedRows, {
			rows: shape.rows,
			columns: width,
			pitch: paddedRows,
		}),
		productDispatch(
			gpu,
			"W_skip gradient",
			{
				rows: W_skip.shards[0]!.count,
				columns: width,
				inner: paddedRows,
				a: buffers.transposedErrors,
				b: buffers.transposedRows,
				out: buffers.skipGradient,
				use: common ? "add" : "set",
			},
			constants,
		),
	];
}

function transposed(
	{ gpu, constants }: Work,
	label: string,
	from: GPUBuffer,
	to: GPUBuffer,
	{ rows, columns, pitch }: { rows: number; columns: number; pitch: number },
): Dispatch {
	return dispatch(
		gpu,
		label,
		transposeRows(),
		[constants(rows, columns, pitch), from, to],
		transposeGroups(rows, columns),
	);
}

/** W_dec, from what it is made of. */
export function derivePhase(work: Work): Dispatch[] {
	const { gpu, spec, layout, buffers, parameters, constants } = work;
	if (!spec.decoder) return [];
	const { candidates, mixture, relaxation, log_scale } = parameters.dense;
	const { latents, outWidth } = layout;
	const W_dec = parameters.W_dec.weights[0]!;
	const numbers = latents * outWidth;
	return [
		transposed(work, "transpose candidates", candidates!.weights[0]!, buffers.transposedCandidates, {
			rows: candidates!.rows,
			columns: outWidth,
			pitch: mixture!.width,
		}),
		productDispatch(
			gpu,
			"mix candidates",
			{
				rows: latents,
				columns: outWidth,
				inner: mixture!.width,
				a: mixture!.weights[0]!,
				b: buffers.transposedCandidates,
				out: W_dec,
				use: "set",
			},
			constants,
		),
		dispatch(
			gpu,
			"compose atoms",
			COMPOSE_ATOMS,
			[constants(numbers), log_scale!.weights[0]!, relaxation!.weights[0]!, W_dec],
			Math.ceil(numbers / 64),
		),
	];
}

/** From W_dec's gradient, which is in its buffer, to those of what it is made of. */
export function atomGradientPhase(work: Work): Dispatch[] {
	const { gpu, layout, buffers, parameters, constants } = work;
	const { candidates, mixture, log_scale } = parameters.dense;
	const { latents, outWidth, d_sae } = layout;
	return [
		dispatch(
			gpu,
			"pass back to atoms",
			passBackToAtoms({ width: outWidth, threads: gpu.rowThreads(outWidth) }),
			[
				constants(d_sae),
				log_scale!.weights[0]!,
				parameters.W_dec.weights[0]!,
				buffers.decoderGradient,
				buffers.atomProducts,
			],
			d_sae,
		),
		dispatch(
			gpu,
			"log scale gradient",
			SUM_NUMBERS,
			[constants(d_sae), buffers.atomProducts, buffers.scaleGradient],
			1,
		),
		productDispatch(
			gpu,
			"mixture gradient",
			{
				rows: latents,
				columns: mixture!.width,
				inner: outWidth,
				a: buffers.decoderGradient,
				b: candidates!.weights[0]!,
				out: buffers.mixtureGradient,
				use: "set",
			},
			constants,
		),
	];
}

/** Rows whose gradients {@link denseNormDispatches} measures. */
export function denseRows(work: Work): number {
	return targets(work).reduce((sum, { parameter }) => sum + parameter.rows, 0);
}

/** Squared norms of the gradients' rows, from `first` on. */
export function denseNormDispatches(work: Work, norms: GPUBuffer, first: number): Dispatch[] {
	const { gpu, constants } = work;
	let at = first;
	return targets(work).map(({ name, parameter: { rows, width }, gradient }) => {
		const part = constants(rows, at);
		at += rows;
		return dispatch(
			gpu,
			`norm ${name}`,
			denseNorms({ width, threads: gpu.rowThreads(width) }),
			[part, gradient, norms],
			rows,
		);
	});
}

export function denseUpdateDispatches(work: Work): Dispatch[] {
	const { gpu, buffers, constants } = work;
	return targets(work).map(({ name, parameter: { rows, width, weights, moments }, gradient, project }) =>
		dispatch(
			gpu,
			`update ${name}`,
			updateDense({ width, threads: gpu.rowThreads(width), ...(project && { project }) }),
			[buffers.step, constants(rows), buffers.control, gradient, weights[0]!, moments[0]!],
			rows,
		),
	);
}
