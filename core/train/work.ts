/** What the phases of a training step share: the description, the shapes and the buffers they hand each other. */
import type { Gpu } from "../../kernels/gpu.ts";
import { type Layout, planLayout, roundUp, TILE } from "../../kernels/layout.ts";
import { ENTRY_BYTES } from "../../kernels/order.ts";
import { mostSegments, segmentLength } from "../../kernels/update.ts";
import type { TrainingSpec } from "../architecture.ts";
import { ParameterStore } from "../gpu/parameters.ts";
import { isBatchLevel } from "../gpu/select.ts";
import { allocate, denseMatrices, MAX_SLOTS } from "./buffers.ts";
import { keysOf, type PlacedTerm, type Plan, planStep, type StepShape } from "./plan.ts";
import { newScratch, type Scratch } from "./scratch.ts";

export interface Work extends Plan, Scratch {
	readonly gpu: Gpu;
	readonly spec: TrainingSpec;
	readonly shape: StepShape;
	readonly layout: Layout;
	/** Code rows of all blocks. */
	readonly codeRows: number;
	/** Room for entries, fixed and not. */
	readonly entries: number;
	/** Entries that are summed in a row. */
	readonly segment: number;
	readonly parameters: ParameterStore;
	readonly buffers: Buffers;
	/** Entries by latent, and by row of the encoder: the same, unless latents share keys. */
	readonly lists: { readonly latents: Lists; readonly keys: Lists };
	/** Selections of any number of codes so far; each has a place in the carry. */
	readonly slots: { count: number };
	/** What the micro-batches of a batch have in common; nothing where a batch is computed at once. */
	readonly common?: Common;
}

export interface Common {
	/** The step's numbers, as they are for the whole batch. */
	readonly step: GPUBuffer;
	/** Where micro-batches collect the gradients of matrices, by shard. */
	readonly gradients: Readonly<Record<"W_enc" | "W_dec", readonly GPUBuffer[]>>;
	/** The same buffer for all that ask for it by this label. */
	shared(label: string, count: number): GPUBuffer;
	free(): void;
}

export type Buffers = ReturnType<typeof allocate>;

/** Entries by latent (or by key), and the segments that long lists are summed in. */
export interface Lists {
	/** Lists. */
	readonly count: number;
	/** Room for entries. */
	readonly room: number;
	readonly offsets: GPUBuffer;
	readonly entries: GPUBuffer;
	readonly segmentOffsets: GPUBuffer;
	readonly segmentLatents: GPUBuffer;
	readonly arrived: GPUBuffer;
	readonly rank: GPUBuffer;
}

/** Numbers of thresholds that a selection keeps. */
function thresholds({ select }: PlacedTerm, d_sae: number): number {
	if (!isBatchLevel(select)) return 0;
	return select.kind === "feature_topk" ? d_sae : 1;
}

/**
 * Lays everything out. `capacity`: room for entries of selections without a fixed room per row. `parameters`: those of
 * a step that is laid out anew.
 */
export function planWork(
	gpu: Gpu,
	spec: TrainingSpec,
	shape: StepShape,
	capacity: number,
	parameters?: ParameterStore,
): Work {
	const plan = planStep(spec, shape);
	const keys = keysOf(spec, shape.d_sae);
	const layout = planLayout({ ...shape, keys }, gpu.maxBinding);
	const codeRows = plan.blocks * shape.rows;
	const entries = plan.fixedEntries + (plan.unbounded ? capacity : 0);
	const scratch = newScratch(gpu);
	const { floats } = scratch;
	const room = keys === shape.d_sae ? entries : 2 * entries;
	const segment = segmentLength(room, Math.max(layout.width, layout.outWidth), gpu.maxBinding);
	const makeLists = (count: number, room: number): Lists => ({
		count,
		room,
		offsets: floats("entries before each list", roundUp(count, TILE) + 1),
		entries: floats("entries by list", (room * ENTRY_BYTES) / 4),
		segmentOffsets: floats("segments before each list", count + 1),
		segmentLatents: floats("list of each segment", mostSegments(room, segment)),
		arrived: floats("unordered entries", room * 2),
		rank: floats("entry ranks", room),
	});
	const latents = makeLists(shape.d_sae, entries);
	const buffers = allocate(gpu, spec, shape, plan, layout, {
		codeRows,
		entries,
		segments: mostSegments(room, segment),
	});
	gpu.write(buffers.carry, new Uint32Array([plan.fixedEntries]));
	for (const [buffer, scales] of [
		[buffers.columnScales, shape.columnScales],
		[buffers.targetScales, shape.targetScales],
	] as const) {
		if (scales) gpu.write(buffer, scales as Float32Array<ArrayBuffer>);
	}
	return {
		...plan,
		gpu,
		spec,
		shape,
		layout,
		codeRows,
		entries,
		segment,
		parameters:
			parameters ??
			new ParameterStore(gpu, layout, {
				vectors: plan.vectors,
				derived: plan.derived,
				dense: denseMatrices(spec, layout),
				trained: true,
				fixed: spec.decoder ? ["W_dec", "candidates"] : [],
				averaged: shape.averaged === true,
				state: {
					threshold: thresholds(plan.terms[0]!, shape.d_sae),
					density: spec.allocation !== undefined,
				},
			}),
		buffers,
		lists: { latents, keys: keys === shape.d_sae ? latents : makeLists(keys, room) },
		slots: { count: 0 },
		...scratch,
	};
}

/** The next place in the carry. */
export function nextSlot({ slots }: Work): number {
	if (slots.count === MAX_SLOTS) throw new Error("too many selections");
	return slots.count++;
}
