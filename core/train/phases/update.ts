/** Gradients → new parameters. */
import { CLIP_FACTOR } from "../../../kernels/loss.ts";
import { type Dispatch, dispatch } from "../../../kernels/program.ts";
import { AVERAGE, UPDATE_VECTOR } from "../../../kernels/update.ts";
import type { Vector } from "../../gpu/parameters.ts";
import type { Work } from "../work.ts";
import { denseNormDispatches, denseRows, denseUpdateDispatches, derivePhase } from "./dense.ts";
import { rowDispatches, trainedMatrices } from "./rows.ts";

/** Measures the whole gradient and sets the factor that brings it under the largest allowed norm. */
export function clipPhase(work: Work): Dispatch[] {
	const { gpu, layout, buffers, vectors } = work;
	const { latents, outWidth } = layout;
	const sparse = trainedMatrices(work);
	const count = sparse.length * latents + denseRows(work);
	const norms = work.floats("gradient norms", count);
	return [
		...sparse.flatMap((target, m) => {
			const half = { buffer: norms, offset: m * latents * 4, size: latents * 4 };
			return rowDispatches(work, target, "norm", half);
		}),
		...denseNormDispatches(work, norms, sparse.length * latents),
		dispatch(
			gpu,
			"clip",
			CLIP_FACTOR,
			[
				buffers.step,
				norms,
				buffers.vectorGradient,
				buffers.b_dec_gradient,
				buffers.control,
				buffers.report,
				work.constants(count, (1 + vectors.length) * latents, outWidth),
			],
			1,
		),
	];
}

/** Adam on every parameter. */
export function updatePhase(work: Work): Dispatch[] {
	const { gpu, layout, buffers, parameters, vectors } = work;
	const vector = (label: string, { weights, moments }: Vector, gradient: GPUBuffer, length: number) =>
		dispatch(
			gpu,
			`update ${label}`,
			UPDATE_VECTOR,
			[buffers.step, gradient, buffers.control, weights, moments, work.constants(length)],
			Math.ceil(length / 64),
		);
	return [
		...trainedMatrices(work).flatMap((target) => rowDispatches(work, target, "update")),
		vector(
			"latent vectors",
			parameters.vectors,
			buffers.vectorGradient,
			(1 + vectors.length) * layout.latents,
		),
		vector("b_dec", parameters.b_dec, buffers.b_dec_gradient, layout.outWidth),
		...denseUpdateDispatches(work),
		...derivePhase(work),
		...(work.shape.averaged ? averageDispatches(work) : []),
	];
}

function averageDispatches({ gpu, layout, buffers, parameters, vectors, constants }: Work): Dispatch[] {
	const average = (label: string, weights: GPUBuffer, mean: GPUBuffer, length: number) =>
		dispatch(
			gpu,
			`average ${label}`,
			AVERAGE,
			[buffers.step, buffers.control, weights, mean, constants(length)],
			Math.ceil(length / 64),
		);
	const { W_enc, W_dec, b_dec, dense } = parameters;
	return [
		...Object.entries({ W_enc, W_dec, ...dense }).flatMap(([name, matrix]) =>
			matrix.shards.map(({ count }, s) =>
				average(name, matrix.weights[s]!, matrix.average[s]!, count * matrix.width),
			),
		),
		average(
			"latent vectors",
			parameters.vectors.weights,
			parameters.vectors.average!,
			(1 + vectors.length) * layout.latents,
		),
		average("b_dec", b_dec.weights, b_dec.average!, layout.outWidth),
	];
}
