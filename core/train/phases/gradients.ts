/** Gradients of what has no list of codes by latent, and those of a batch from its micro-batches'. */
import { addNumbers, COLUMN_BLOCK, columnGroups, columnSums } from "../../../kernels/columns.ts";
import { type Dispatch, dispatch } from "../../../kernels/program.ts";
import { reviveLatents } from "../../../kernels/revive.ts";
import { decoderBiasGradient } from "../../../kernels/update.ts";
import { biasBlocks } from "../plan.ts";
import type { Work } from "../work.ts";
import { sumColumns } from "./columns.ts";
import { atomGradientPhase } from "./dense.ts";
import { gradientRow, matrices, rowDispatches } from "./rows.ts";

/** Sums over rows that gradients need beside the codes': of errors, for b_dec, and of what the encoder saw. */
export function rowSumPhase(work: Work): Dispatch[] {
	const { spec, shape, layout, terms, buffers } = work;
	const { width, outWidth } = layout;
	const { rows, tilted } = shape;
	return [
		...biasBlocks(terms).flatMap((block, row) =>
			sumColumns(
				work,
				"sum errors",
				outWidth,
				{
					buffer: buffers.error,
					first: block * rows,
					rows,
					weights: tilted ? buffers.rowWeight : undefined,
				},
				{ buffer: buffers.errorSums, row },
			),
		),
		...(spec.revival
			? sumColumns(
					work,
					"sum inputs",
					width,
					{ buffer: buffers.encoderInput, first: 0, rows },
					{ buffer: buffers.inputSums, row: 0 },
				)
			: []),
	];
}

/** What the pre-activation loss adds to gradients, from the sum of what the encoder saw. */
export function revivePhase(work: Work): Dispatch[] {
	const { gpu, spec, shape, layout, buffers, parameters, names, gradientRows } = work;
	const { revival } = spec;
	if (!revival) return [];
	const { weight, dthreshold } = revival;
	return [
		dispatch(
			gpu,
			"revive",
			reviveLatents({ names, weight, dthreshold, gradientRows }),
			[
				buffers.step,
				work.constants(shape.d_sae, layout.latents),
				parameters.vectors.weights,
				buffers.vectorGradient,
				buffers.reviving,
			],
			Math.ceil(shape.d_sae / 64),
		),
	];
}

/** b_dec's gradient, which also flows through the encoder's input; it reads W_enc before the update changes it. */
export function biasGradientPhase(work: Work): Dispatch[] {
	const { gpu, spec, layout, terms, buffers, parameters, gradientRows } = work;
	const { width, outWidth } = layout;
	const centre = spec.apply_b_dec_to_input;
	const blocks = biasBlocks(terms);
	const through = work.floats("through the encoder", width);
	const dispatches: Dispatch[] = [];
	if (centre) {
		let summed = 0;
		for (const [s, { start, count }] of layout.keyShards.entries()) {
			dispatches.push(
				dispatch(
					gpu,
					"through the encoder",
					columnSums({ width, weighted: true }),
					[
						work.constants(count, 0, summed, start),
						parameters.W_enc.weights[s]!,
						buffers.columnScratch,
						gradientRow(work, gradientRows.includes("z") ? "z" : "b_enc"),
					],
					columnGroups(width, count),
				),
			);
			summed += Math.ceil(count / COLUMN_BLOCK);
		}
		const parts = { buffer: buffers.columnScratch, first: 0, rows: summed };
		dispatches.push(...sumColumns(work, "through the encoder", width, parts, { buffer: through, row: 0 }));
	}
	const code = decoderBiasGradient({
		width: outWidth,
		blocks,
		centre,
	});
	const bindings = [buffers.control, buffers.errorSums, buffers.b_dec_gradient, ...(centre ? [through] : [])];
	return [...dispatches, dispatch(gpu, "b_dec gradient", code, bindings, Math.ceil(outWidth / 64))];
}

/** The gradients of what W_dec is made of, where it is. */
export function derivedGradientPhase(work: Work): Dispatch[] {
	const target = matrices(work).find(({ parameter }) => parameter.moments.length === 0);
	if (!target) return [];
	return [
		// What was collected lacks only what is no code's.
		...(work.common && !target.further ? [] : rowDispatches(work, target, "gradient")),
		...atomGradientPhase(work),
	];
}

/** A micro-batch's part of every gradient is added to the batch's. */
export function collectPhase(work: Work, batch: Work): Dispatch[] {
	const { gpu, spec, layout, buffers, gradientRows, constants } = work;
	const add = (name: "vectorGradient" | "fired" | "errorSums" | "inputSums", count: number) =>
		dispatch(
			gpu,
			`add ${name}`,
			addNumbers(name === "fired" ? "u32" : "f32"),
			[buffers[name], batch.buffers[name], constants(count)],
			Math.ceil(count / 64),
		);
	const blocks = biasBlocks(work.terms).length;
	return [
		...matrices(work).flatMap((target) => rowDispatches(work, target, "collect")),
		add("vectorGradient", gradientRows.length * layout.latents),
		add("fired", layout.d_sae),
		...(blocks > 0 ? [add("errorSums", blocks * layout.outWidth)] : []),
		...(spec.revival ? [add("inputSums", layout.width)] : []),
	];
}

/** Where gradients are collected, which begins with zeros. */
export function collecting({ buffers, common }: Work): GPUBuffer[] {
	const { vectorGradient, fired, errorSums, inputSums, skipGradient } = buffers;
	return [
		...Object.values(common!.gradients).flat(),
		vectorGradient,
		fired,
		errorSums,
		inputSums,
		skipGradient,
	];
}
