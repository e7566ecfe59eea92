/** Errors and codes → gradients → new parameters, one pass per latent. */
import { COLUMN_BLOCK, columnGroups, columnSums } from "../../../kernels/columns.ts";
import { countSilence, listDead } from "../../../kernels/liveness.ts";
import { CLIP_FACTOR, CONTROL, REPORT } from "../../../kernels/loss.ts";
import { shareKeys } from "../../../kernels/product-keys.ts";
import { type Binding, type Dispatch, dispatch } from "../../../kernels/program.ts";
import { reviveLatents } from "../../../kernels/revive.ts";
import { exclusiveScan } from "../../../kernels/scan.ts";
import { TRACK_THRESHOLDS } from "../../../kernels/threshold.ts";
import {
	COUNT_ENTRIES,
	COUNT_SEGMENTS,
	LIST_SEGMENTS,
	type OrderShape,
	orderBindings,
	orderEntries,
	SCATTER_ENTRIES,
} from "../../../kernels/transpose.ts";
import {
	AVERAGE,
	decoderBiasGradient,
	type Further,
	mostSegments,
	rowNeedsWeights,
	sumSegments,
	UPDATE_VECTOR,
	type UpdateRowsShape,
	updateRows,
} from "../../../kernels/update.ts";
import { weighCodes } from "../../../kernels/weigh.ts";
import { type Matrix, rowsOf, type Vector } from "../../gpu/parameters.ts";
import type { SelectDispatches } from "../../gpu/select.ts";
import { biasBlocks, hasUnitRows, type Lists, type Work } from "../work.ts";
import { sumColumns } from "./columns.ts";
import {
	atomGradientPhase,
	denseNormDispatches,
	denseRows,
	denseUpdateDispatches,
	derivePhase,
} from "./dense.ts";

/** Codes by row become codes by latent, weighted by what they add to gradients; those of the latents' vectors fall out. */
export function transposePhase(work: Work): Dispatch[] {
	const { terms, buffers, shape, layout, shares, gradientRows, lists } = work;
	const { index, span, value, slope, control, weighed, vectorGradient, fired } = buffers;
	const shared = lists.keys !== lists.latents;
	return [
		...(work.weighed ? [weigh(work)] : []),
		...transpose(
			work,
			lists.latents,
			{
				firingRows: terms[0]!.parts * shape.rows,
				weights: work.weighed ? { shares: shares.length } : { scaleAt: CONTROL.scale },
				shareRows: shares.map((name) => gradientRows.indexOf(name)),
				encoderRows: [0, gradientRows.indexOf("z")].filter((row) => row >= 0),
			},
			{
				index,
				span,
				value,
				slope,
				control,
				weighed,
				fired,
				// Keys, not latents, have biases; latents' sums of the same name go nowhere.
				gradient: shared
					? work.floats("unused gradient", gradientRows.length * layout.latents)
					: vectorGradient,
			},
		),
		...(shared ? keyPhase(work) : []),
	];
}

/** The same for keys that latents share: what codes pass back is summed by key first. */
function keyPhase(work: Work): Dispatch[] {
	const { gpu, shape, layout, codeRows, entries, buffers, lists, shares } = work;
	const { index, span, slope, control, weighed, vectorGradient } = buffers;
	const keyIndex = work.floats("key indices", 2 * entries);
	const keyWeights = work.floats("key weights", 4 * entries);
	const keySpan = work.floats("key spans", 2 * codeRows);
	const weights = work.weighed ? { stride: 2 + shares.length } : { scaleAt: CONTROL.scale };
	return [
		dispatch(
			gpu,
			"share keys",
			shareKeys({ keys: layout.keys / 2, threads: gpu.threads(64), weights }),
			[
				work.constants(codeRows, shape.rows, 0, 0),
				index,
				span,
				...(work.weighed ? [weighed] : [slope, control]),
				keyIndex,
				keyWeights,
				keySpan,
			],
			codeRows,
		),
		...transpose(
			work,
			lists.keys,
			{ firingRows: 0, weights: { shares: 0 }, shareRows: [], encoderRows: [0] },
			{
				index: keyIndex,
				span: keySpan,
				value: keyWeights,
				slope,
				control,
				weighed: keyWeights,
				fired: work.floats("unused counts", layout.keys),
				gradient: vectorGradient,
			},
		),
	];
}

function transpose(
	work: Work,
	lists: Lists,
	how: Omit<OrderShape, "codeRows" | "rows" | "threads">,
	codes: Readonly<
		Record<"index" | "span" | "value" | "slope" | "control" | "weighed" | "fired" | "gradient", GPUBuffer>
	>,
): Dispatch[] {
	const { gpu, shape, layout, codeRows } = work;
	const { count, offsets, entries, arrived, rank } = lists;
	const { index, span } = codes;
	const order: OrderShape = { ...how, codeRows, rows: shape.rows, threads: gpu.threads(64) };
	const counts = work.floats("entries per list", count);
	const rows = work.constants(codeRows);
	return [
		dispatch(gpu, "count entries", COUNT_ENTRIES, [span, index, counts, rank, rows], codeRows),
		...exclusiveScan(gpu, "offsets", counts, offsets, count),
		dispatch(gpu, "scatter entries", SCATTER_ENTRIES, [span, index, offsets, rank, arrived, rows], codeRows),
		dispatch(
			gpu,
			"order entries",
			orderEntries(order),
			[
				work.constants(count, layout.latents),
				offsets,
				arrived,
				...orderBindings(order).map((name) => codes[name]),
				entries,
				codes.gradient,
				counts,
				codes.fired,
			],
			count,
		),
		...segmentDispatches(work, lists),
	];
}

function weigh(work: Work): Dispatch {
	const { gpu, spec, shape, layout, terms, codeRows, buffers, parameters, names, shares } = work;
	const { index, span, z, value, slope, control, weighed, rowWeight } = buffers;
	const tilted = shape.tilted === true;
	const code = weighCodes({
		threads: gpu.threads(64),
		rows: shape.rows,
		names,
		shares,
		tilted,
		terms: terms.map(({ number, firstBlock, parts, decoder, reduction, activation, penalty }) => ({
			number,
			firstBlock,
			endBlock: firstBlock + parts,
			trainsDecoder: decoder !== "frozen",
			tilted: tilted && reduction === "sum",
			dz: activation.dz,
			d: activation.d ?? {},
			...(penalty && {
				penalty: { df: penalty.df, dz: penalty.dz, dnorm: penalty.dnorm, d: penalty.d ?? {} },
			}),
			...(number === 0 && spec.revival ? { revival: spec.revival } : {}),
		})),
	});
	return dispatch(
		gpu,
		"weigh codes",
		code,
		[
			buffers.step,
			work.constants(codeRows, layout.latents),
			index,
			span,
			z,
			value,
			slope,
			control,
			parameters.vectors.weights,
			weighed,
			...(tilted ? [rowWeight] : []),
		],
		codeRows,
	);
}

/** Long lists get segments, which are summed side by side. */
function segmentDispatches(
	work: Work,
	{ count, offsets, segmentOffsets, segmentLatents }: Lists,
): Dispatch[] {
	const { gpu } = work;
	const counts = work.floats("segments per list", count);
	const size = work.constants(count, work.segment);
	const groups = Math.ceil(count / 64);
	return [
		dispatch(gpu, "count segments", COUNT_SEGMENTS, [offsets, counts, size], groups),
		...exclusiveScan(gpu, "segments", counts, segmentOffsets, count),
		dispatch(gpu, "list segments", LIST_SEGMENTS, [segmentOffsets, segmentLatents, size], groups),
	];
}

/** What the pre-activation loss adds to gradients, from the sum of what the encoder saw. */
export function revivePhase(work: Work): Dispatch[] {
	const { gpu, spec, shape, layout, buffers, parameters, names, gradientRows } = work;
	const { revival } = spec;
	if (!revival) return [];
	const { weight, dthreshold } = revival;
	return [
		...sumColumns(
			work,
			"sum inputs",
			layout.width,
			{ buffer: buffers.encoderInput, first: 0, rows: shape.rows },
			{ buffer: buffers.inputSums, row: 0 },
		),
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
	const { gpu, spec, shape, layout, terms, buffers, parameters, gradientRows } = work;
	const { width, outWidth } = layout;
	const centre = spec.apply_b_dec_to_input;
	const blocks = biasBlocks(terms);
	const sums = work.floats("error sums", Math.max(1, blocks.length) * outWidth);
	const through = work.floats("through the encoder", width);
	const dispatches = blocks.flatMap((block, row) =>
		sumColumns(
			work,
			"sum errors",
			outWidth,
			{
				buffer: buffers.error,
				first: block * shape.rows,
				rows: shape.rows,
				weights: shape.tilted ? buffers.rowWeight : undefined,
			},
			{ buffer: sums, row },
		),
	);
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
	const bindings = [buffers.control, sums, buffers.b_dec_gradient, ...(centre ? [through] : [])];
	return [...dispatches, dispatch(gpu, "b_dec gradient", code, bindings, Math.ceil(outWidth / 64))];
}

/** The row of this name of the gradient of the latents' vectors. */
function gradientRow({ buffers, gradientRows, layout }: Work, name: string): Binding {
	const size = layout.latents * 4;
	return { buffer: buffers.vectorGradient, offset: gradientRows.indexOf(name) * size, size };
}

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
			return rowDispatches(work, target, "norm", () => half);
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
		...trainedMatrices(work).flatMap((target) =>
			rowDispatches(work, target, "update", (shard) => target.parameter.moments[shard]!),
		),
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

interface MatrixTarget {
	readonly name: "W_enc" | "W_dec";
	readonly matrix: "encoder" | "decoder";
	readonly parameter: Matrix;
	readonly lists: Lists;
	readonly source: GPUBuffer;
	readonly unitRows: boolean;
	readonly further?: { readonly part: Further; readonly bindings: readonly Binding[] };
}

function matrices(work: Work): MatrixTarget[] {
	const { spec, buffers, parameters, gradientRows, layout, lists } = work;
	const blocks = spec.norm_blocks ?? 1;
	return [
		{
			name: "W_enc",
			matrix: "encoder",
			parameter: parameters.W_enc,
			lists: lists.keys,
			source: buffers.encoderInput,
			unitRows: hasUnitRows(spec, "W_enc"),
			...(spec.revival && {
				further: { part: { kind: "row" }, bindings: [buffers.reviving, buffers.inputSums] },
			}),
		},
		{
			name: "W_dec",
			matrix: "decoder",
			parameter: parameters.W_dec,
			lists: lists.latents,
			source: buffers.error,
			unitRows: hasUnitRows(spec, "W_dec"),
			...(gradientRows.includes("norm") && {
				further: {
					part: { kind: "direction", blocks, columns: layout.d_out / blocks },
					bindings: [gradientRow(work, "norm"), buffers.inverseNorms],
				},
			}),
		},
	];
}

/** Those that Adam changes: all but a W_dec that is made of other parameters. */
function trainedMatrices(work: Work): MatrixTarget[] {
	return matrices(work).filter(({ parameter }) => parameter.moments.length > 0);
}

/** The gradients of what W_dec is made of, where it is. */
export function derivedGradientPhase(work: Work): Dispatch[] {
	const target = matrices(work).find(({ parameter }) => parameter.moments.length === 0);
	if (!target) return [];
	return [
		...rowDispatches(work, target, "gradient", () => work.buffers.decoderGradient),
		...atomGradientPhase(work),
	];
}

function rowDispatches(
	work: Work,
	target: MatrixTarget,
	mode: UpdateRowsShape["mode"],
	state: (shard: number) => Binding,
): Dispatch[] {
	const { gpu, shape, buffers, segment } = work;
	const { name, matrix, parameter, lists, source, unitRows, further } = target;
	const { control, partial } = buffers;
	const { offsets, entries, segmentOffsets, segmentLatents } = lists;
	const { width, shards } = parameter;
	const kind = { width, threads: gpu.rowThreads(width), rows: shape.rows, segment, matrix };
	const segments = dispatch(
		gpu,
		`sum segments ${name}`,
		sumSegments(kind),
		[segmentOffsets, segmentLatents, offsets, entries, source, partial, work.constants(lists.count)],
		mostSegments(lists.room, segment),
	);
	const rowsShape: UpdateRowsShape = { ...kind, unitRows, mode, ...(further && { further: further.part }) };
	const code = updateRows(rowsShape);
	const rows = shards.map((shard, s) =>
		dispatch(
			gpu,
			`${mode} ${name}`,
			code,
			[
				work.constants(shard.start, rowsOf(shard, parameter.rows)),
				offsets,
				entries,
				source,
				control,
				segmentOffsets,
				partial,
				state(s),
				...(rowNeedsWeights(rowsShape) ? [parameter.weights[s]!] : []),
				...(mode === "update" ? [buffers.step] : []),
				...(further?.bindings ?? []),
			],
			rowsOf(shard, parameter.rows),
		),
	);
	return [segments, ...rows];
}

/** What selections keep for inference, tokens since each latent last fired, and the list of dead ones. */
export function livenessPhase(work: Work, bounds: SelectDispatches["bounds"]): Dispatch[] {
	const { gpu, spec, shape, buffers, parameters, derived, terms } = work;
	const { d_sae } = shape;
	const { control, fired, deadFlags, floor } = buffers;
	const places = work.floats("dead places", d_sae + 1);
	const count = work.constants(d_sae);
	const groups = Math.ceil(d_sae / 64);
	const thresholds = terms[0]!.select.kind === "feature_topk" ? d_sae : 1;
	const densities = spec.allocation !== undefined;
	const marked = derived.includes("dead");
	return [
		...(bounds
			? [
					dispatch(
						gpu,
						"track thresholds",
						TRACK_THRESHOLDS,
						[
							buffers.step,
							work.constants(thresholds, bounds.apart),
							control,
							bounds.buffer,
							parameters.threshold,
						],
						Math.ceil(thresholds / 64),
					),
				]
			: []),
		dispatch(
			gpu,
			"count silence",
			countSilence({ densities, marked }),
			[
				buffers.step,
				count,
				control,
				fired,
				parameters.since,
				deadFlags,
				...(densities ? [parameters.density, floor] : []),
				...(marked ? [parameters.row("dead")] : []),
			],
			groups,
		),
		...exclusiveScan(gpu, "dead places", deadFlags, places, d_sae),
		dispatch(
			gpu,
			"list dead",
			listDead(REPORT.dead),
			[deadFlags, places, buffers.dead, buffers.report, count],
			groups,
		),
	];
}
