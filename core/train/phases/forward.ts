/** Rows → codes → errors, for every loss term. */
import { activateCodes } from "../../../kernels/activate.ts";
import { codeSlopes, type DecodeShape, decodeBindings, decodeRows } from "../../../kernels/decode.ts";
import { sumNestedErrors } from "../../../kernels/nested.ts";
import { decoderNorms } from "../../../kernels/norms.ts";
import { prepareRows } from "../../../kernels/prepare.ts";
import { type Dispatch, dispatch } from "../../../kernels/program.ts";
import { revivalLosses } from "../../../kernels/revive.ts";
import { type Chunk, encoderChunks } from "../../gpu/encoder.ts";
import { rowsOf } from "../../gpu/parameters.ts";
import {
	isBatchLevel,
	maximaOf,
	type Round,
	type SelectDispatches,
	selectDispatches,
} from "../../gpu/select.ts";
import { isReranked, lastBlock, type PlacedTerm } from "../plan.ts";
import { nextSlot, type Work } from "../work.ts";

/** The chunks that rows are encoded in, whatever is made of their pre-activations. */
export function chunksOf({
	gpu,
	spec,
	layout,
	terms,
	buffers,
	parameters,
	floats,
	constants,
}: Work): Chunk[] {
	return encoderChunks(gpu, layout, {
		input: buffers.encoderInput,
		parameters,
		maximaOf: maximaOf(terms[0]!.select),
		keep: terms.some(({ select }) => isBatchLevel(select)),
		reranked: isReranked(spec, terms),
		floats,
		constants,
	});
}

/** How rows become codes, in the order in which it is done. */
export interface Encoding {
	/** What formulas need, the same for all rows. */
	readonly norms: readonly Dispatch[];
	/** Rows arrive. */
	readonly prepare: readonly Dispatch[];
	/** The products alone, for a round of a micro-batch. */
	readonly products: readonly Dispatch[];
	/** Rows are encoded, and terms that look at one row at a time select its codes. */
	readonly chunks: readonly Dispatch[];
	/** All rows of the batch are looked at. */
	readonly rounds: readonly Round[];
	/** The other terms select; codes get their values. */
	readonly codes: readonly Dispatch[];
	readonly bounds: SelectDispatches["bounds"];
	/** What {@link SelectDispatches.running} says of all terms. */
	readonly running: readonly GPUBuffer[];
}

export function encodePhase(work: Work, chunks: readonly Chunk[]): Encoding {
	const { gpu, layout, shape, terms, buffers, parameters, names, common } = work;
	const context = {
		gpu,
		layout,
		rows: shape.rows,
		...(common && { batch: common }),
		names,
		buffers: { ...buffers, vectors: parameters.vectors.weights },
		limit: work.entries,
		nextSlot: () => nextSlot(work),
		constants: work.constants,
		floats: work.floats,
	};
	const selections = terms.map((term) =>
		selectDispatches(context, term, term.activated ? buffers.z : buffers.value, chunks),
	);
	const most = Math.max(...selections.map(({ rounds = [] }) => rounds.length));
	return {
		norms: work.derived.includes("norm") ? normPhase(work) : [],
		prepare: preparePhase(work),
		products: chunks.flatMap(({ product }) => product),
		chunks: chunks.flatMap((chunk) => [
			...chunk.product,
			...revivalLoss(work, chunk),
			...selections.flatMap((selection) => selection.chunk(chunk)),
		]),
		rounds: Array.from({ length: most }, (_, r) => ({
			each: selections.flatMap(({ rounds }) => rounds?.[r]?.each ?? []),
			after: selections.flatMap(({ rounds }) => rounds?.[r]?.after ?? []),
		})),
		codes: [
			...selections.flatMap((selection) => selection.batch()),
			...terms.flatMap((term) => (term.activated ? [activate(work, term)] : [])),
		],
		bounds: selections[0]!.bounds,
		running: selections.flatMap(({ running = [] }) => running),
	};
}

function revivalLoss(work: Work, { pre, firstRow, chunkRows }: Chunk): Dispatch[] {
	const { gpu, spec, shape, layout, buffers, parameters, names } = work;
	if (!spec.revival) return [];
	return [
		dispatch(
			gpu,
			"revival loss",
			revivalLosses({ names, threshold: spec.revival.threshold, threads: gpu.threads(64) }),
			[
				buffers.step,
				work.constants(firstRow, chunkRows, layout.latents, 0),
				pre,
				buffers.dead,
				parameters.vectors.weights,
				buffers.revivalLoss,
			],
			Math.min(chunkRows, shape.rows - firstRow),
		),
	];
}

function preparePhase({ gpu, spec, shape, layout, buffers, parameters }: Work): Dispatch[] {
	const centre = spec.apply_b_dec_to_input;
	const { format, rowScales = false } = shape;
	const arrive = (
		label: string,
		to: { d_in: number; width: number; scale: "input_scale" | "target_scale"; centre: boolean },
		raw: GPUBuffer,
		out: GPUBuffer,
		columnScales: GPUBuffer | undefined,
	) =>
		dispatch(
			gpu,
			label,
			prepareRows({ ...to, format, rowScales, columnScales: columnScales !== undefined }),
			[
				buffers.step,
				raw,
				out,
				...(to.centre ? [parameters.b_dec.weights, buffers.encoderInput] : []),
				...(rowScales ? [buffers.rowScales] : []),
				...(columnScales ? [columnScales] : []),
			],
			shape.rows,
		);
	const { d_in, width, d_out, outWidth } = layout;
	return [
		arrive(
			"prepare rows",
			{ d_in, width, scale: "input_scale", centre },
			buffers.raw,
			buffers.x,
			shape.columnScales && buffers.columnScales,
		),
		...(shape.d_out === undefined
			? []
			: [
					arrive(
						"prepare targets",
						{ d_in: d_out, width: outWidth, scale: "target_scale", centre: false },
						buffers.rawTargets,
						buffers.y,
						shape.targetScales && buffers.targetScales,
					),
				]),
	];
}

/** Norms of the decoder's rows, where a formula names them. */
function normPhase({ gpu, spec, layout, buffers, parameters, constants }: Work): Dispatch[] {
	const { outWidth, d_out, d_sae, shards } = layout;
	const code = decoderNorms({
		width: outWidth,
		d_out,
		blocks: spec.norm_blocks ?? 1,
		threads: gpu.threads(64),
	});
	return shards.map((shard, s) =>
		dispatch(
			gpu,
			"decoder norms",
			code,
			[
				constants(shard.start, rowsOf(shard, d_sae)),
				parameters.W_dec.weights[s]!,
				parameters.row("norm"),
				buffers.inverseNorms,
			],
			rowsOf(shard, d_sae),
		),
	);
}

function activate(work: Work, { name, activation, penalty, firstBlock, parts }: PlacedTerm): Dispatch {
	const { gpu, shape, layout, buffers, parameters, names } = work;
	const rows = parts * shape.rows;
	const sums = penalty ? [penalty.value, ...(penalty.batch?.beside ? [penalty.batch.beside] : [])] : [];
	return dispatch(
		gpu,
		`activate ${name}`,
		activateCodes({ threads: gpu.threads(64), names, value: activation.value, sums }),
		[
			buffers.step,
			work.constants(rows, firstBlock * shape.rows, layout.latents),
			buffers.index,
			buffers.span,
			buffers.z,
			parameters.vectors.weights,
			buffers.value,
			buffers.sums,
		],
		rows,
	);
}

/** Codes are decoded; what is left of the target is each term's error. */
export function decodePhase(work: Work): Dispatch[] {
	const { gpu, shape, layout, terms, buffers } = work;
	return [
		...terms.flatMap((term) =>
			term.weights.flatMap((_, part) => layout.shards.map((_, shard) => decode(work, term, part, shard))),
		),
		...terms
			.filter(({ parts }) => parts > 1)
			.map(({ name, weights, firstBlock }) =>
				dispatch(
					gpu,
					`sum parts ${name}`,
					sumNestedErrors({ width: layout.outWidth, weights, threads: gpu.threads(64) }),
					[work.constants(shape.rows, firstBlock * shape.rows, shape.rows), buffers.error],
					shape.rows,
				),
			),
	];
}

/** Each code learns its slope from the errors. */
export function slopePhase({ gpu, layout, codeRows, buffers, parameters, constants }: Work): Dispatch[] {
	const code = codeSlopes({ width: layout.outWidth, lanes: gpu.threads(32), threads: gpu.threads(128) });
	return layout.shards.map(({ start, count }, shard) =>
		dispatch(
			gpu,
			"code slopes",
			code,
			[
				constants(codeRows, 0, start, start + count),
				parameters.W_dec.weights[shard]!,
				buffers.index,
				buffers.span,
				buffers.error,
				buffers.slope,
			],
			codeRows,
		),
	);
}

function decode(work: Work, term: PlacedTerm, part: number, shard: number): Dispatch {
	const { gpu, shape, layout, terms, buffers, parameters } = work;
	const { start, count } = layout.shards[shard]!;
	const { rows } = shape;
	const block = term.firstBlock + part;
	const residual = term.target === "residual";
	const shapeOf: DecodeShape = {
		width: layout.outWidth,
		threads: gpu.rowThreads(layout.outWidth),
		start: shard > 0 ? "partial" : part > 0 || residual ? "other" : term.bias ? "bias_minus_x" : "minus_x",
		last: shard === layout.shards.length - 1,
		deadOnly: term.latents === "dead",
	};
	// A part goes on from the one before; a residual starts from the first term's whole reconstruction.
	const other = part > 0 ? block - 1 : lastBlock(terms[0]!);
	const extra = {
		b_dec: parameters.b_dec.weights,
		x: term.bias ? buffers.unskipped : buffers.y,
		squared: buffers.squared,
		list: buffers.dead,
	};
	return dispatch(
		gpu,
		`decode ${term.name}`,
		decodeRows(shapeOf),
		[
			work.constants(rows, block * rows, start, start + count, other * rows),
			parameters.W_dec.weights[shard]!,
			buffers.index,
			buffers.value,
			buffers.span,
			buffers.error,
			...decodeBindings(shapeOf).map((name) => extra[name]),
		],
		rows,
	);
}
