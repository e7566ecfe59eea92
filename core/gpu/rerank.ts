/** The k largest of rows whose pre-activations come from halved operands, as exact as those of whole ones. */
import { codeSlopes } from "../../kernels/decode.ts";
import { halfError } from "../../kernels/halve.ts";
import { type Dispatch, dispatch } from "../../kernels/program.ts";
import { listCandidates, rankListed, wholeRows } from "../../kernels/rerank.ts";
import { candidateRoom } from "../../kernels/topk-parts.ts";
import type { Chunk, Halved } from "./encoder.ts";
import { type PlacedSelection, rowsOfChunk, type SelectContext, topKPlace, topKShape } from "./select.ts";

export function rerankedTopK(
	context: SelectContext,
	selection: PlacedSelection,
	out: GPUBuffer,
	chunk: Chunk,
	{ input, parameters, rowFacts, largest }: Halved,
): Dispatch[] {
	const { gpu, layout, buffers, constants, floats } = context;
	const { name, deadOnly } = selection;
	const { width, keyShards, paddedKeys } = layout;
	const { firstRow, pre } = chunk;
	const rows = rowsOfChunk(chunk, context.rows);
	const shape = topKShape(context, selection);
	const room = candidateRoom(shape);
	const listed = floats(`${name} candidates`, rows * room);
	const product = floats(`${name} candidates' products`, rows * room);
	const span = floats(`${name} candidates' spans`, rows * 2);
	const whole = floats(`${name} whole rows`, rows);
	const scanned = deadOnly ? buffers.dead! : chunk.maxima;
	const place = topKPlace(context, selection, chunk);
	const b_enc = parameters.row("b_enc");
	const threads = gpu.threads(256);
	const products = codeSlopes({ width, lanes: gpu.threads(32), threads: gpu.threads(128) });
	return [
		dispatch(
			gpu,
			`list ${name}`,
			listCandidates(shape, halfError(width)),
			[buffers.step, place, pre, scanned, rowFacts, largest, listed, span, whole],
			rows,
		),
		...keyShards.flatMap(({ start, count }, s) => {
			const W_enc = parameters.W_enc.weights[s]!;
			return [
				dispatch(
					gpu,
					`exact ${name}`,
					products,
					[constants(rows, firstRow, start, start + count), W_enc, listed, span, input, product],
					rows,
				),
				dispatch(
					gpu,
					`whole rows ${name}`,
					wholeRows(threads),
					[constants(firstRow, rows, start, count, width / 4, paddedKeys), whole, input, W_enc, b_enc, pre],
					rows,
				),
			];
		}),
		dispatch(
			gpu,
			`rank ${name}`,
			rankListed(shape),
			[
				buffers.step,
				place,
				pre,
				listed,
				product,
				span,
				whole,
				b_enc,
				buffers.index,
				out,
				buffers.span,
				...(deadOnly ? [buffers.dead!] : []),
			],
			rows,
		),
	];
}
