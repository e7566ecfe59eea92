/** Codes by row → codes by latent, with what each adds to gradients. */
import { CONTROL } from "../../../kernels/loss.ts";
import {
	LISTS_PER_GROUP,
	type OrderShape,
	orderBindings,
	orderLong,
	orderShort,
} from "../../../kernels/order.ts";
import { shareKeys } from "../../../kernels/product-keys.ts";
import { type Dispatch, dispatch } from "../../../kernels/program.ts";
import { exclusiveScan } from "../../../kernels/scan.ts";
import { COUNT_ENTRIES, COUNT_SEGMENTS, LIST_SEGMENTS, SCATTER_ENTRIES } from "../../../kernels/transpose.ts";
import { weighCodes } from "../../../kernels/weigh.ts";
import type { Lists, Work } from "../work.ts";

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
	const order: Omit<OrderShape, "threads"> = { ...how, codeRows, rows: shape.rows };
	const short: OrderShape = { ...order, threads: gpu.threads(64) };
	const long: OrderShape = { ...order, threads: gpu.threads(256) };
	const counts = work.floats("entries per list", count);
	const rows = work.constants(codeRows);
	const ordered = [
		work.constants(count, layout.latents),
		offsets,
		arrived,
		...orderBindings(short).map((name) => codes[name]),
		entries,
		codes.gradient,
		counts,
		codes.fired,
	];
	return [
		dispatch(gpu, "count entries", COUNT_ENTRIES, [span, index, counts, rank, rows], codeRows),
		...exclusiveScan(gpu, "offsets", counts, offsets, count),
		dispatch(gpu, "scatter entries", SCATTER_ENTRIES, [span, index, offsets, rank, arrived, rows], codeRows),
		dispatch(gpu, "order entries", orderShort(short), ordered, count),
		dispatch(gpu, "order long lists", orderLong(long), ordered, Math.ceil(count / LISTS_PER_GROUP)),
		...segmentDispatches(work, lists),
	];
}

function weigh(work: Work): Dispatch {
	const { gpu, spec, shape, layout, terms, codeRows, buffers, parameters, names, shares, common } = work;
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
			common?.step ?? buffers.step,
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
