/** The k largest of rows whose encoder product was one of halved operands, as exact as those of whole ones. */
import { codeSlopes } from "../../kernels/decode.ts";
import { GATHER_DEAD, GATHERED } from "../../kernels/gather-dead.ts";
import { deadProduct, tileFor, tileGroups } from "../../kernels/matmul.ts";
import { type Dispatch, dispatch } from "../../kernels/program.ts";
import { listCandidates, rankListed, wholeRows } from "../../kernels/rerank.ts";
import { selectTopK } from "../../kernels/topk.ts";
import { candidateRoom, SELECT_THREADS } from "../../kernels/topk-parts.ts";
import type { Chunk, Halved } from "./encoder.ts";
import { type PlacedSelection, rowsOfChunk, type SelectContext, topKPlace, topKShape } from "./select.ts";

type OfChunk = (chunk: Chunk) => Dispatch[];

/** Among all latents: whatever may be one of the k largest is computed again in float32 and ranked by that. */
export function rerankedTopK(
	context: SelectContext,
	selection: PlacedSelection,
	out: GPUBuffer,
	{ input, parameters, norms, largest }: Halved,
): OfChunk {
	const { gpu, layout, buffers, constants, floats } = context;
	const { name } = selection;
	const { width, keyShards, paddedKeys } = layout;
	const shape = topKShape(context, selection);
	const room = candidateRoom(shape);
	const listed = floats(`${name} candidates`, layout.chunkRows * room);
	const product = floats(`${name} candidates' products`, layout.chunkRows * room);
	const span = floats(`${name} candidates' spans`, layout.chunkRows * 2);
	const whole = floats(`${name} whole rows`, layout.chunkRows);
	const b_enc = parameters.row("b_enc");
	const list = listCandidates(shape, width);
	const exact = codeSlopes({ width, lanes: gpu.threads(32), threads: gpu.threads(128) });
	const wholes = wholeRows(gpu.threads(256));
	// A thread or two per candidate, of which there are barely more than latents are kept.
	const rank = rankListed({ ...shape, threads: gpu.threads(Math.min(SELECT_THREADS, room / 2)) });
	return (chunk) => {
		const { firstRow, pre, fours } = chunk;
		const rows = rowsOfChunk(chunk, context.rows);
		const place = topKPlace(context, selection, chunk);
		return [
			dispatch(
				gpu,
				`list ${name}`,
				list,
				[buffers.step, place, fours, norms, largest, listed, span, whole],
				rows,
			),
			...keyShards.flatMap(({ start, count }, s) => {
				const W_enc = parameters.W_enc.weights[s]!;
				return [
					dispatch(
						gpu,
						`exact ${name}`,
						exact,
						[constants(rows, firstRow, start, start + count), W_enc, listed, span, input, product],
						rows,
					),
					dispatch(
						gpu,
						`whole rows ${name}`,
						wholes,
						[constants(firstRow, rows, start, count, width / 4, paddedKeys), whole, input, W_enc, b_enc, pre],
						rows,
					),
				];
			}),
			dispatch(
				gpu,
				`rank ${name}`,
				rank,
				[buffers.step, place, pre, listed, product, span, whole, b_enc, buffers.index, out, buffers.span],
				rows,
			),
		];
	};
}

/** Among dead latents, of which there are few or none: their pre-activations are computed by themselves. */
export function deadTopK(
	context: SelectContext,
	selection: PlacedSelection,
	out: GPUBuffer,
	{ input, parameters }: Halved,
): OfChunk {
	const { gpu, layout, buffers, constants, floats } = context;
	const { name } = selection;
	const { width, keyShards, paddedKeys } = layout;
	const list = buffers.dead!;
	const gathered = keyShards.map(({ count }) => floats("encoders of dead latents", count * width));
	const b_dead = floats("b_enc of dead latents", paddedKeys);
	const gather = keyShards.flatMap((to, t) =>
		keyShards.map((from, s) =>
			dispatch(
				gpu,
				`gather ${name}`,
				GATHER_DEAD,
				[
					constants(from.start, from.count, to.start, to.count, width / 4),
					list,
					parameters.W_enc.weights[s]!,
					parameters.row("b_enc"),
					gathered[t]!,
					b_dead,
				],
				Math.ceil(to.count / GATHERED),
			),
		),
	);
	const tile = tileFor(gpu, layout.chunkRows, paddedKeys);
	const code = deadProduct(tile);
	const select = selectTopK({ ...topKShape(context, selection), scan: "dead_only" });
	return (chunk) => {
		const { firstRow, chunkRows, pre } = chunk;
		return [
			...(firstRow === 0 ? gather : []),
			...keyShards.map(({ start, count }, s) =>
				dispatch(
					gpu,
					`product ${name}`,
					code,
					[constants(firstRow, start, width / 4, paddedKeys / 4), input, gathered[s]!, b_dead, pre, list],
					tileGroups(tile, chunkRows, count),
				),
			),
			dispatch(
				gpu,
				`select ${name}`,
				select,
				[buffers.step, topKPlace(context, selection, chunk), pre, list, buffers.index, out, buffers.span],
				rowsOfChunk(chunk, context.rows),
			),
		];
	};
}
