/** From pre-activations to codes: which kernels carry out a selection, for training and for inference alike. */
import {
	BATCH_BOUND,
	BATCH_DIGITS,
	countDigits,
	countEquals,
	pickDigit,
	rowBounds,
	SHARE_BOUND,
	TAKE_EQUALS,
} from "../../kernels/bounds.ts";
import { EXTRACT_THREADS, markCodes, type Rule, WORD, writeCodes } from "../../kernels/extract.ts";
import type { Names } from "../../kernels/formula.ts";
import type { Gpu } from "../../kernels/gpu.ts";
import { selectGroupMax } from "../../kernels/group-max.ts";
import {
	countLatentDigits,
	LATENT_BINS,
	LATENT_BOUNDS,
	LATENT_DIGITS,
	LATENTS_PER_GROUP,
	pickLatentDigit,
	SHARE_LATENT_BOUNDS,
} from "../../kernels/latent-bounds.ts";
import type { Layout } from "../../kernels/layout.ts";
import type { MaximaOf } from "../../kernels/matmul.ts";
import { selectProductKeys } from "../../kernels/product-keys.ts";
import { type Binding, type Dispatch, dispatch } from "../../kernels/program.ts";
import { exclusiveScan } from "../../kernels/scan.ts";
import { selectTopK } from "../../kernels/topk.ts";
import { MAX_K, SELECT_THREADS, type TopKShape } from "../../kernels/topk-parts.ts";
import { packed } from "../../kernels/wgsl.ts";
import type { Nesting, Selection } from "../architecture.ts";
import { largest } from "../schedule.ts";
import type { Chunk } from "./encoder.ts";
import { deadTopK, rerankedTopK } from "./rerank.ts";

/** A selection with its place among the codes. */
export interface PlacedSelection {
	readonly name: string;
	/** Which of the step's k is its own. */
	readonly number: number;
	readonly select: Selection;
	readonly deadOnly: boolean;
	readonly keep: string;
	readonly nestedBy?: Nesting["by"] | undefined;
	/** Its blocks of code rows; nested reconstructions have one for each part. */
	readonly firstBlock: number;
	readonly parts: number;
	/** First of its entries, where every row has room for `room`; 0: codes of any number, behind all such. */
	readonly entry: number;
	readonly room: number;
}

/** Room per row of a selection of at most so many codes; 0 where rows may have any number. */
export function roomOf(select: Selection, nested: Nesting | undefined): number {
	if (nested) return 0;
	if (select.kind === "product_keys") return largest(select.k);
	if (select.kind === "topk" && largest(select.k) <= MAX_K) return largest(select.k);
	return select.kind === "group_max" ? select.groups : 0;
}

/** Room for codes per row that a selection of any number of codes begins with. */
export const FIRST_ROOM = 256;
/** How much more room is made than is needed. */
export const GROWTH = 1.5;

/** Whether a selection looks at every row of the batch before it decides. */
export function isBatchLevel({ kind }: Selection): boolean {
	return kind === "batch_topk" || kind === "feature_topk";
}

/** Whether a selection finds its codes exactly where pre-activations are only known to a margin. */
export function reranks({ select, room }: Pick<PlacedSelection, "select" | "room">): boolean {
	return select.kind === "topk" && room > 0;
}

/** What the kernel that encodes has to summarise for a selection. */
export function maximaOf(select: Selection): MaximaOf {
	return select.kind === "topk" && select.by === "magnitude" ? "magnitude" : "value";
}

export interface CodeBuffers {
	readonly step: GPUBuffer;
	readonly index: GPUBuffer;
	readonly span: GPUBuffer;
	/** Latents' vectors [count, latents], for formulas. */
	readonly vectors: Binding;
	/** Dead latents, count first; only for selections among them. */
	readonly dead?: GPUBuffer;
	/** Codes per row of every latent, for `feature_topk`. */
	readonly quota?: GPUBuffer;
	/** By selection of any number of codes: where its entries begin; then where all end. */
	readonly carry: GPUBuffer;
}

export interface SelectContext {
	readonly gpu: Gpu;
	readonly layout: Layout;
	/** Rows of the batch, or micro-batch, and of every block. */
	readonly rows: number;
	/** Of the batch that the rows are a micro-batch of, if they are. */
	readonly batch?: {
		readonly step: GPUBuffer;
		/** A buffer that all of its micro-batches have in common. */
		shared(label: string, count: number): GPUBuffer;
	};
	readonly names: Names;
	readonly buffers: CodeBuffers;
	/** End of the room for entries. */
	readonly limit: number;
	/** The next unused element of the carry. */
	nextSlot(): number;
	constants(...words: number[]): GPUBuffer;
	floats(label: string, count: number): GPUBuffer;
}

/** A look at all rows of a batch: at `each` micro-batch, once its pre-activations are there, and `after` all. */
export interface Round {
	readonly each: readonly Dispatch[];
	readonly after: readonly Dispatch[];
}

export interface SelectDispatches {
	/** After the chunk's pre-activations are there. */
	readonly chunk: (chunk: Chunk) => Dispatch[];
	/** Before anything is selected, for selections that look at the whole batch. */
	readonly rounds?: readonly Round[];
	/** After all chunks' pre-activations are there, and all rounds are done. */
	readonly batch: () => Dispatch[];
	/** What is counted from one micro-batch to the next while they select, in order: 0 before the first. */
	readonly running?: readonly GPUBuffer[];
	/** Bits that stand for a threshold, and how many numbers apart they are; for batch-level selections. */
	readonly bounds?: { readonly buffer: GPUBuffer; readonly apart: number };
}

/** Dispatches that write the selection's codes: indices, pre-activations into `out`, and spans. */
export function selectDispatches(
	context: SelectContext,
	selection: PlacedSelection,
	out: GPUBuffer,
	chunks: readonly Chunk[],
): SelectDispatches {
	const { select, room } = selection;
	const nothing = () => [];
	if (select.kind === "topk" && room > 0) {
		const { halved } = chunks[0]!;
		if (!halved) return { chunk: (chunk) => topK(context, selection, out, chunk), batch: nothing };
		const exact = selection.deadOnly ? deadTopK : rerankedTopK;
		return { chunk: exact(context, selection, out, halved), batch: nothing };
	}
	if (select.kind === "group_max") {
		return { chunk: (chunk) => groupMax(context, selection, out, chunk), batch: nothing };
	}
	if (select.kind === "product_keys") {
		return { chunk: (chunk) => productKeys(context, selection, out, chunk), batch: nothing };
	}
	if (select.kind === "batch_topk") return batchTopK(context, selection, out, chunks);
	if (select.kind === "feature_topk") return featureTopK(context, selection, out, chunks);
	const rule: Rule =
		select.kind === "topk"
			? { kind: "rows", levels: selection.nestedBy === "rank" ? selection.parts : 1 }
			: { kind: "formula", keep: selection.keep, names: context.names };
	const bounds = select.kind === "topk" ? rankBounds(context, selection) : undefined;
	return {
		chunk: (chunk) => [
			...(bounds?.find(chunk) ?? []),
			...extract(context, selection, rule, bounds?.buffer ?? context.buffers.vectors, out, chunk),
		],
		batch: nothing,
	};
}

/** How the kernels of a row's k largest know a selection and a chunk. */
export function topKShape(
	{ gpu, layout }: SelectContext,
	{ room, deadOnly, select }: PlacedSelection,
): TopKShape {
	return {
		maxK: room,
		threads: gpu.threads(SELECT_THREADS),
		scan: deadOnly ? "dead" : "maxima",
		magnitude: maximaOf(select) === "magnitude",
		keys: layout.keys === layout.d_sae ? undefined : layout.keys / 2,
	};
}

export function topKPlace(
	{ constants, layout, rows }: SelectContext,
	{ firstBlock, entry, room, number }: PlacedSelection,
	{ firstRow, chunkRows }: Chunk,
): GPUBuffer {
	const { d_sae, paddedKeys } = layout;
	return constants(firstRow, chunkRows, firstBlock * rows, entry, d_sae, paddedKeys, room, number);
}

function topK(context: SelectContext, selection: PlacedSelection, out: GPUBuffer, chunk: Chunk): Dispatch[] {
	const { gpu, rows, buffers } = context;
	const { index, span } = buffers;
	const scanned = selection.deadOnly ? buffers.dead! : chunk.fours;
	const place = topKPlace(context, selection, chunk);
	return [
		dispatch(
			gpu,
			`select ${selection.name}`,
			selectTopK(topKShape(context, selection)),
			[buffers.step, place, chunk.pre, scanned, index, out, span],
			rowsOfChunk(chunk, rows),
		),
	];
}

function productKeys(
	context: SelectContext,
	selection: PlacedSelection,
	out: GPUBuffer,
	chunk: Chunk,
): Dispatch[] {
	const { gpu, layout, rows, buffers } = context;
	const { firstBlock, entry, room, number, name } = selection;
	const code = selectProductKeys({
		keys: layout.keys / 2,
		maxK: room,
		threads: gpu.threads(SELECT_THREADS),
		number,
	});
	const { firstRow, chunkRows } = chunk;
	const place = context.constants(firstRow, chunkRows, firstBlock * rows, entry, layout.paddedKeys, 0, 0, 0);
	return [
		dispatch(
			gpu,
			`select ${name}`,
			code,
			[buffers.step, place, chunk.pre, buffers.index, out, buffers.span],
			rowsOfChunk(chunk, rows),
		),
	];
}

function groupMax(
	context: SelectContext,
	selection: PlacedSelection,
	out: GPUBuffer,
	chunk: Chunk,
): Dispatch[] {
	const { gpu, layout, rows, buffers } = context;
	const { firstBlock, entry, room, name } = selection;
	const place = context.constants(
		chunk.firstRow,
		chunk.chunkRows,
		firstBlock * rows,
		entry,
		layout.d_sae,
		layout.latents,
		room,
		0,
	);
	return [
		dispatch(
			gpu,
			`select ${name}`,
			selectGroupMax(gpu.threads(64)),
			[buffers.step, place, chunk.pre, buffers.index, out, buffers.span],
			rowsOfChunk(chunk, rows),
		),
	];
}

/** Bounds of each row's k largest, for the levels of a nesting by rank or for a k of any size. */
function rankBounds(context: SelectContext, { number, firstBlock, parts, nestedBy, name }: PlacedSelection) {
	const { gpu, rows, buffers } = context;
	const needs =
		nestedBy === "rank"
			? Array.from(
					{ length: parts },
					(_, part) => `min(${packed("step.below", firstBlock + part)}, ${packed("step.k", number)})`,
				)
			: [packed("step.k", number)];
	const buffer = context.floats(`${name} bounds`, rows * needs.length * 2);
	return {
		buffer,
		find: (chunk: Chunk) => [
			dispatch(
				gpu,
				`bounds ${name}`,
				rowBounds({ needs, threads: gpu.threads(EXTRACT_THREADS) }),
				[buffers.step, chunkConstants(context, chunk), chunk.pre, buffer],
				rowsOfChunk(chunk, rows),
			),
		],
	};
}

function batchTopK(
	context: SelectContext,
	selection: PlacedSelection,
	out: GPUBuffer,
	chunks: readonly Chunk[],
): SelectDispatches {
	const { gpu, rows, buffers, batch } = context;
	const { name, number } = selection;
	const shared = batch?.shared ?? context.floats;
	const bound = shared(`${name} bound`, BATCH_BOUND.length);
	const taken = shared(`${name} equals taken`, 1);
	const equals = context.floats(`${name} equals`, rows);
	const before = context.floats(`${name} equals before`, rows + 1);
	const bounds = context.floats(`${name} bounds`, rows * 2);
	const threads = gpu.threads(EXTRACT_THREADS);
	const each = (label: string, code: string, further: readonly Binding[]) =>
		chunks.map((chunk) =>
			dispatch(
				gpu,
				`${label} ${name}`,
				code,
				[buffers.step, chunkConstants(context, chunk), chunk.pre, chunk.fours, ...further],
				rowsOfChunk(chunk, rows),
			),
		);
	return {
		chunk: () => [],
		rounds: Array.from({ length: BATCH_DIGITS }, (_, digit) => ({
			each: each("count digits", countDigits(digit, threads), [bound]),
			after: [
				dispatch(
					gpu,
					`pick digit ${name}`,
					pickDigit(digit, number),
					[batch?.step ?? buffers.step, bound],
					1,
				),
			],
		})),
		batch: () => [
			...each("count equals", countEquals(threads), [bound, equals]),
			...exclusiveScan(gpu, `${name} equals`, equals, before, rows),
			dispatch(
				gpu,
				`share ${name}`,
				SHARE_BOUND,
				[buffers.step, bound, before, bounds, taken],
				Math.ceil(rows / 64),
			),
			...(batch ? [dispatch(gpu, `take ${name}`, TAKE_EQUALS, [buffers.step, before, taken], 1)] : []),
			...chunks.flatMap((chunk) =>
				extract(context, selection, { kind: "rows", levels: 1 }, bounds, out, chunk),
			),
		],
		running: [taken],
		bounds: { buffer: bound, apart: BATCH_BOUND.length },
	};
}

function featureTopK(
	context: SelectContext,
	selection: PlacedSelection,
	out: GPUBuffer,
	chunks: readonly Chunk[],
): SelectDispatches {
	const { gpu, layout, buffers, batch } = context;
	const { name } = selection;
	if (batch) return featureTopKByDigits({ ...context, batch }, selection, out, chunks);
	const bounds = context.floats(`${name} bounds`, layout.latents * 2);
	const [chunk] = chunks;
	return {
		chunk: () => [],
		batch: () => [
			dispatch(
				gpu,
				`bounds ${name}`,
				LATENT_BOUNDS,
				[buffers.step, chunkConstants(context, chunk!), chunk!.pre, buffers.quota!, bounds],
				Math.ceil(layout.d_sae / LATENTS_PER_GROUP),
			),
			...extract(context, selection, { kind: "latents" }, bounds, out, chunk!),
		],
		bounds: { buffer: bounds, apart: 2 },
	};
}

/** Bytes that {@link featureTopKByDigits} counts in, which grow with the latents alone. */
export function digitBytes({ latents }: Layout): number {
	return latents * LATENT_BINS * 4;
}

/** The same bounds, where no more than a micro-batch's pre-activations are there at a time. */
function featureTopKByDigits(
	context: SelectContext & Required<Pick<SelectContext, "batch">>,
	selection: PlacedSelection,
	out: GPUBuffer,
	chunks: readonly Chunk[],
): SelectDispatches {
	const { gpu, layout, buffers, batch } = context;
	const { name } = selection;
	const { d_sae, latents } = layout;
	const found = batch.shared(`${name} found`, latents * 2);
	const bins = batch.shared(`${name} bins`, latents * LATENT_BINS);
	const taken = batch.shared(`${name} equals taken`, latents);
	const bounds = context.floats(`${name} bounds`, latents * 2);
	const groups = Math.ceil(d_sae / 64);
	const each = (label: string, code: string, chunk: Chunk, further: readonly Binding[]) =>
		dispatch(
			gpu,
			`${label} ${name}`,
			code,
			[buffers.step, chunkConstants(context, chunk), chunk.pre, found, ...further],
			groups,
		);
	return {
		chunk: () => [],
		rounds: Array.from({ length: LATENT_DIGITS }, (_, digit) => ({
			each: chunks.map((chunk) => each("count digits", countLatentDigits(digit), chunk, [bins])),
			after: [
				dispatch(
					gpu,
					`pick digits ${name}`,
					pickLatentDigit(digit),
					[batch.step, context.constants(d_sae, latents), buffers.quota!, found, bins],
					groups,
				),
			],
		})),
		batch: () =>
			chunks.flatMap((chunk) => [
				each("share", SHARE_LATENT_BOUNDS, chunk, [taken, bounds]),
				...extract(context, selection, { kind: "latents" }, bounds, out, chunk),
			]),
		running: [taken],
		bounds: { buffer: found, apart: 2 },
	};
}

function extract(
	context: SelectContext,
	selection: PlacedSelection,
	rule: Rule,
	bounds: Binding,
	out: GPUBuffer,
	chunk: Chunk,
): Dispatch[] {
	const { gpu, layout, rows, buffers, limit } = context;
	const { name, firstBlock, parts } = selection;
	const levels = rule.kind === "rows" ? rule.levels : 1;
	const { firstRow, chunkRows, pre } = chunk;
	const v = levels * chunkRows;
	const bits = context.floats(`${name} marks`, (v * layout.latents) / WORD);
	const counts = context.floats(`${name} counts`, v);
	const offsets = context.floats(`${name} places`, v + 1);
	const slot = context.nextSlot();
	const place = context.constants(
		firstRow,
		chunkRows,
		firstBlock * rows,
		layout.d_sae,
		layout.latents,
		slot,
		limit,
		rows,
	);
	const threads = gpu.threads(EXTRACT_THREADS);
	return [
		dispatch(
			gpu,
			`mark ${name}`,
			markCodes(rule, threads),
			[buffers.step, place, pre, bits, counts, bounds],
			chunkRows,
		),
		...exclusiveScan(gpu, `${name} places`, counts, offsets, v),
		dispatch(
			gpu,
			`write ${name}`,
			writeCodes({ threads, levels, parts: levels === 1 ? parts : 1, firstBlock }),
			[buffers.step, place, pre, bits, offsets, buffers.carry, buffers.index, out, buffers.span],
			v,
		),
	];
}

/** How kernels of bounds.ts know a chunk. */
function chunkConstants({ constants, layout }: SelectContext, { firstRow, chunkRows }: Chunk): GPUBuffer {
	return constants(firstRow, chunkRows, layout.d_sae, layout.latents);
}

export function rowsOfChunk({ chunkRows, firstRow }: Chunk, rows: number): number {
	return Math.min(chunkRows, rows - firstRow);
}
