/** Rows → codes → errors, for every loss term. */
import { codeSlopes, type DecodeShape, decodeBindings, decodeRows } from "../../../kernels/decode.ts";
import { prepareRows } from "../../../kernels/prepare.ts";
import { type Dispatch, dispatch } from "../../../kernels/program.ts";
import { SELECT_THREADS, selectTopK } from "../../../kernels/topk.ts";
import { type Chunk, encoderDispatches } from "../../gpu/encoder.ts";
import type { PlacedTerm, Work } from "../work.ts";

/** Rows arrive, are encoded, and every term selects its codes. */
export function encodePhase(work: Work): Dispatch[] {
	const { gpu, spec, shape, layout, terms, buffers, parameters } = work;
	const centre = spec.apply_b_dec_to_input;
	return [
		dispatch(
			gpu,
			"prepare rows",
			prepareRows({ d_in: shape.d_in, width: layout.width, format: shape.format, centre }),
			[buffers.step, buffers.raw, buffers.x, ...(centre ? [parameters.b_dec, buffers.encoderInput] : [])],
			shape.rows,
		),
		...encoderDispatches(gpu, layout, { xc: buffers.encoderInput, parameters }, work.floats, (chunk) =>
			terms.map((term) => select(work, term, chunk)),
		),
	];
}

function select(work: Work, term: PlacedTerm, { pre, maxima, firstRow, chunkRows }: Chunk): Dispatch {
	const { gpu, shape, layout, buffers } = work;
	const dead = term.latents === "dead";
	return dispatch(
		gpu,
		`select ${term.name}`,
		selectTopK({ maxK: term.maxK, threads: gpu.threads(SELECT_THREADS), scan: dead ? "dead" : "maxima" }),
		[
			buffers.step,
			work.constants(
				firstRow,
				chunkRows,
				term.codeRow,
				term.entry,
				shape.d_sae,
				layout.latents,
				term.maxK,
				term.number,
			),
			pre,
			dead ? buffers.dead : maxima,
			buffers.index,
			buffers.value,
			buffers.span,
		],
		Math.min(chunkRows, shape.rows - firstRow),
	);
}

/** Codes are decoded; what is left of the target is each term's error, and each code learns its slope. */
export function decodePhase(work: Work): Dispatch[] {
	const { gpu, layout, terms, codeRows, buffers, parameters } = work;
	const lanes = gpu.threads(32);
	const slopes = codeSlopes({ width: layout.width, lanes, threads: gpu.threads(128) });
	return [
		...terms.flatMap((term) => layout.shards.map((_, shard) => decode(work, term, shard))),
		...layout.shards.map(({ start, count }, shard) =>
			dispatch(
				gpu,
				"code slopes",
				slopes,
				[
					work.constants(codeRows, 0, start, start + count),
					parameters.W_dec[shard]!,
					buffers.index,
					buffers.span,
					buffers.error,
					buffers.slope,
				],
				codeRows,
			),
		),
	];
}

function decode(work: Work, term: PlacedTerm, shard: number): Dispatch {
	const { gpu, shape, layout, buffers, parameters } = work;
	const { start, count } = layout.shards[shard]!;
	const decode: DecodeShape = {
		width: layout.width,
		threads: gpu.rowThreads(layout.width),
		start:
			shard > 0
				? "partial"
				: term.target === "residual"
					? "residual"
					: term.bias
						? "bias_minus_x"
						: "minus_x",
		last: shard === layout.shards.length - 1,
		deadOnly: term.latents === "dead",
	};
	const extra = { b_dec: parameters.b_dec, x: buffers.x, squared: buffers.squared, list: buffers.dead };
	return dispatch(
		gpu,
		`decode ${term.name}`,
		decodeRows(decode),
		[
			work.constants(shape.rows, term.codeRow, start, start + count),
			parameters.W_dec[shard]!,
			buffers.index,
			buffers.value,
			buffers.span,
			buffers.error,
			...decodeBindings(decode).map((name) => extra[name]),
		],
		shape.rows,
	);
}
