/** Errors and codes → gradients → new parameters, one pass per latent. */
import { COLUMN_BLOCK, columnGroups, columnSums } from "../../../kernels/columns.ts";
import { COUNT_SILENCE, listDead } from "../../../kernels/liveness.ts";
import { CLIP_FACTOR, CONTROL, REPORT } from "../../../kernels/loss.ts";
import { type Dispatch, dispatch } from "../../../kernels/program.ts";
import { exclusiveScan } from "../../../kernels/scan.ts";
import {
	COUNT_ENTRIES,
	COUNT_SEGMENTS,
	LIST_SEGMENTS,
	orderEntries,
	SCATTER_ENTRIES,
} from "../../../kernels/transpose.ts";
import {
	decoderBiasGradient,
	mostSegments,
	SEGMENT,
	sumSegments,
	UPDATE_VECTOR,
	updateRows,
} from "../../../kernels/update.ts";
import type { Work } from "../work.ts";
import { sumColumns } from "./columns.ts";

/** Codes by row become codes by latent, weighted by their term's scale; b_enc's gradient falls out. */
export function transposePhase(work: Work): Dispatch[] {
	const { gpu, shape, layout, codeRows, buffers } = work;
	const { index, span, value, slope, rank, arrived, offsets, entries, control, b_enc_gradient } = buffers;
	const counts = work.floats("entries per latent", layout.latents);
	const rows = work.constants(codeRows);
	return [
		dispatch(gpu, "count entries", COUNT_ENTRIES, [span, index, counts, rank, rows], codeRows),
		...exclusiveScan(gpu, "offsets", counts, offsets, layout.latents),
		dispatch(gpu, "scatter entries", SCATTER_ENTRIES, [span, index, offsets, rank, arrived, rows], codeRows),
		dispatch(
			gpu,
			"order entries",
			orderEntries({ codeRows, rows: shape.rows, threads: gpu.threads(64), scaleAt: CONTROL.scale }),
			[offsets, arrived, value, slope, control, entries, b_enc_gradient, counts, work.constants(shape.d_sae)],
			shape.d_sae,
		),
		...segmentDispatches(work),
	];
}

/** Latents with long lists get segments, which are summed side by side. */
function segmentDispatches(work: Work): Dispatch[] {
	const { gpu, shape, layout, buffers } = work;
	const counts = work.floats("segments per latent", layout.latents);
	const size = work.constants(shape.d_sae, SEGMENT);
	const groups = Math.ceil(shape.d_sae / 64);
	return [
		dispatch(gpu, "count segments", COUNT_SEGMENTS, [buffers.offsets, counts, size], groups),
		...exclusiveScan(gpu, "segments", counts, buffers.segmentOffsets, shape.d_sae),
		dispatch(
			gpu,
			"list segments",
			LIST_SEGMENTS,
			[buffers.segmentOffsets, buffers.segmentLatents, size],
			groups,
		),
	];
}

/** b_dec's gradient, which also flows through the encoder's input; it reads W_enc before the update changes it. */
export function biasGradientPhase(work: Work): Dispatch[] {
	const { gpu, spec, shape, layout, terms, buffers, parameters } = work;
	const { width } = layout;
	const centre = spec.apply_b_dec_to_input;
	const biased = terms.filter((term) => term.bias);
	const sums = work.floats("error sums", Math.max(1, biased.length) * width);
	const through = work.floats("through the encoder", width);
	const dispatches = biased.flatMap((term, row) =>
		sumColumns(
			work,
			"sum errors",
			{ buffer: buffers.error, first: term.codeRow, rows: shape.rows },
			{ buffer: sums, row },
		),
	);
	if (centre) {
		let blocks = 0;
		for (const [s, { start, count }] of layout.shards.entries()) {
			dispatches.push(
				dispatch(
					gpu,
					"through the encoder",
					columnSums({ width, weighted: true }),
					[
						work.constants(count, 0, blocks, start),
						parameters.W_enc[s]!,
						buffers.columnScratch,
						buffers.b_enc_gradient,
					],
					columnGroups(width, count),
				),
			);
			blocks += Math.ceil(count / COLUMN_BLOCK);
		}
		const parts = { buffer: buffers.columnScratch, first: 0, rows: blocks };
		dispatches.push(...sumColumns(work, "through the encoder", parts, { buffer: through, row: 0 }));
	}
	const code = decoderBiasGradient({ width, terms: biased.map((term) => term.number), centre });
	const bindings = [buffers.control, sums, buffers.b_dec_gradient, ...(centre ? [through] : [])];
	return [...dispatches, dispatch(gpu, "b_dec gradient", code, bindings, Math.ceil(width / 64))];
}

/** Measures the whole gradient and sets the factor that brings it under the largest allowed norm. */
export function clipPhase(work: Work): Dispatch[] {
	const { gpu, layout, buffers } = work;
	const { latents, width } = layout;
	const norms = work.floats("gradient norms", 2 * latents);
	return [
		...matrices(work).flatMap((target, m) => {
			const half = { buffer: norms, offset: m * latents * 4, size: latents * 4 };
			return rowDispatches(work, target, "norm", () => half);
		}),
		dispatch(
			gpu,
			"clip",
			CLIP_FACTOR,
			[
				buffers.step,
				norms,
				buffers.b_enc_gradient,
				buffers.b_dec_gradient,
				buffers.control,
				buffers.report,
				work.constants(2 * latents, latents, width),
			],
			1,
		),
	];
}

/** Adam on every parameter. */
export function updatePhase(work: Work): Dispatch[] {
	const { gpu, layout, buffers, parameters } = work;
	const vector = (name: "b_enc" | "b_dec", gradient: GPUBuffer, length: number) =>
		dispatch(
			gpu,
			`update ${name}`,
			UPDATE_VECTOR,
			[
				buffers.step,
				gradient,
				buffers.control,
				parameters[name],
				parameters.moments[name],
				work.constants(length),
			],
			Math.ceil(length / 64),
		);
	return [
		...matrices(work).flatMap((target) =>
			rowDispatches(work, target, "update", (shard) => parameters.moments[target.name][shard]!),
		),
		vector("b_enc", buffers.b_enc_gradient, layout.latents),
		vector("b_dec", buffers.b_dec_gradient, layout.width),
	];
}

interface MatrixTarget {
	readonly name: "W_enc" | "W_dec";
	readonly matrix: "encoder" | "decoder";
	readonly source: GPUBuffer;
	readonly unitRows: boolean;
}

function matrices({ spec, buffers }: Work): MatrixTarget[] {
	const unitRows = (name: string) =>
		spec.parameters.some((parameter) => parameter.name === name && parameter.constraint === "unit_rows");
	return [
		{ name: "W_enc", matrix: "encoder", source: buffers.encoderInput, unitRows: unitRows("W_enc") },
		{ name: "W_dec", matrix: "decoder", source: buffers.error, unitRows: unitRows("W_dec") },
	];
}

function rowDispatches(
	work: Work,
	target: MatrixTarget,
	mode: "norm" | "update",
	state: (shard: number) => GPUBuffer | { buffer: GPUBuffer; offset: number; size: number },
): Dispatch[] {
	const { gpu, shape, layout, buffers, parameters } = work;
	const { name, matrix, source, unitRows } = target;
	const { offsets, entries, control, segmentOffsets, segmentLatents, partial } = buffers;
	const kind = { width: layout.width, threads: gpu.rowThreads(layout.width), rows: shape.rows, matrix };
	const segments = dispatch(
		gpu,
		`sum segments ${name}`,
		sumSegments(kind),
		[segmentOffsets, segmentLatents, offsets, entries, source, partial, work.constants(shape.d_sae)],
		mostSegments(work.entries),
	);
	const code = updateRows({ ...kind, unitRows, mode });
	const rows = layout.shards.map(({ start, count }, s) => {
		const latents = Math.min(count, shape.d_sae - start);
		const weights = unitRows || mode === "update" ? [parameters[name][s]!] : [];
		return dispatch(
			gpu,
			`${mode} ${name}`,
			code,
			[
				work.constants(start, latents),
				offsets,
				entries,
				source,
				control,
				segmentOffsets,
				partial,
				state(s),
				...weights,
				...(mode === "update" ? [buffers.step] : []),
			],
			latents,
		);
	});
	return [segments, ...rows];
}

/** Tokens since each latent last fired, and the list of dead ones that the next step may revive. */
export function livenessPhase(work: Work): Dispatch[] {
	const { gpu, shape, buffers, parameters } = work;
	const { d_sae } = shape;
	const flags = work.floats("dead flags", d_sae);
	const places = work.floats("dead places", d_sae + 1);
	const count = work.constants(d_sae);
	const groups = Math.ceil(d_sae / 64);
	return [
		dispatch(
			gpu,
			"count silence",
			COUNT_SILENCE,
			[buffers.step, buffers.offsets, buffers.entries, parameters.since, flags, count],
			groups,
		),
		...exclusiveScan(gpu, "dead places", flags, places, d_sae),
		dispatch(
			gpu,
			"list dead",
			listDead(REPORT.dead),
			[flags, places, buffers.dead, buffers.report, count],
			groups,
		),
	];
}
