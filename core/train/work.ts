/** What the phases of a training step share: the description, the shapes and the buffers they hand each other. */

import { ROW_SUMS } from "../../kernels/activate.ts";
import { COLUMN_BLOCK } from "../../kernels/columns.ts";
import { mentions, type Names } from "../../kernels/formula.ts";
import type { Gpu } from "../../kernels/gpu.ts";
import { type Layout, planLayout, roundUp, TILE } from "../../kernels/layout.ts";
import { CONTROL, REPORT } from "../../kernels/loss.ts";
import type { RowFormat } from "../../kernels/prepare.ts";
import { ENTRY_BYTES } from "../../kernels/transpose.ts";
import { mostSegments, segmentLength } from "../../kernels/update.ts";
import { STEP_PARAMS_BYTES } from "../../kernels/wgsl.ts";
import { type Activation, type LossTerm, RELU, type Size, type TrainingSpec } from "../architecture.ts";
import { type DenseSize, denseWidth, ParameterStore } from "../gpu/parameters.ts";
import { isBatchLevel, type PlacedSelection, roomOf } from "../gpu/select.ts";

export interface StepShape {
	readonly d_in: number;
	/** Width of the targets, where they are others than the inputs. */
	readonly d_out?: number | undefined;
	readonly d_sae: number;
	/** Rows of every batch. */
	readonly rows: number;
	/** How rows arrive. */
	readonly format: RowFormat;
	/** Whether gradients are clipped by their global norm, which costs a second pass over the codes. */
	readonly clip: boolean;
	/** Rows arrive with a scale each. */
	readonly rowScales?: boolean | undefined;
	/** What each column of the inputs, or of the targets, is multiplied by besides the step's scale. */
	readonly columnScales?: Float32Array | undefined;
	readonly targetScales?: Float32Array | undefined;
	/** Rows weigh in by their loss: tilted empirical risk. */
	readonly tilted?: boolean | undefined;
	/** A running mean of the weights is kept. */
	readonly averaged?: boolean | undefined;
}

/** A loss term with its place among the codes. */
export interface PlacedTerm extends Omit<LossTerm, "activation">, PlacedSelection {
	readonly activation: Activation;
	/** By part; one for a term that is not nested. */
	readonly weights: readonly number[];
	/** Whether pre-activations and codes differ, or a penalty sums over them. */
	readonly activated: boolean;
}

/** What follows from the description alone. */
export interface Plan {
	readonly terms: readonly PlacedTerm[];
	readonly blocks: number;
	/** Entries of rows with a fixed room; entries of any number lie behind them. */
	readonly fixedEntries: number;
	/** Whether any selection gives rows any number of codes. */
	readonly unbounded: boolean;
	/** Parameters of shape [d_sae] besides b_enc. */
	readonly vectors: readonly string[];
	/** Rows of numbers beside them: the decoder's norms, which latents are dead. */
	readonly derived: readonly ("norm" | "dead")[];
	readonly names: Names;
	/** Whether codes' gradients take more than a scale. */
	readonly weighed: boolean;
	/** Gradients of the latents' vectors that get shares from codes, `norm` among them. */
	readonly shares: readonly string[];
	/**
	 * Rows of the gradient of the latents' vectors; `z` for that of the pre-activations, where b_enc's has more in it.
	 */
	readonly gradientRows: readonly string[];
}

export interface Work extends Plan {
	readonly gpu: Gpu;
	readonly spec: TrainingSpec;
	readonly shape: StepShape;
	readonly layout: Layout;
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
	/** A uniform of u32 that never change. */
	constants(...words: number[]): GPUBuffer;
	/** A further buffer of float32 (or u32) elements. */
	floats(label: string, count: number): GPUBuffer;
	/** What `floats` and `constants` made. */
	readonly further: readonly GPUBuffer[];
}

type Buffers = ReturnType<typeof allocate>;

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

/** The most selections of any number of codes, over all terms and chunks. */
const MAX_SLOTS = 255;

/** Matrices that architectures may have besides W_enc and W_dec: those of a skip connection and of an archetypal decoder. */
export const ARCHETYPAL = ["candidates", "mixture", "relaxation", "log_scale"];
const DENSE = ["W_skip", ...ARCHETYPAL];

export function planStep(spec: TrainingSpec, shape: StepShape): Plan {
	let blocks = 0;
	let fixedEntries = 0;
	const terms = spec.loss.map((term, number): PlacedTerm => {
		const { select, nested } = term;
		const magnitude = select.kind === "topk" && select.by === "magnitude";
		const activation = term.activation ?? (magnitude ? { ...RELU, keep: "z != 0.0" } : RELU);
		const weights = nested?.weights ?? [1];
		const room = roomOf(select, nested);
		const placed = {
			...term,
			number,
			deadOnly: term.latents === "dead",
			activation,
			keep: activation.keep,
			nestedBy: nested?.by,
			firstBlock: blocks,
			parts: weights.length,
			weights,
			entry: fixedEntries,
			room,
			activated: activation.value !== "z" || term.penalty !== undefined,
		};
		blocks += weights.length;
		fixedEntries += shape.rows * room;
		return placed;
	});
	const vectors = spec.parameters
		.filter(({ name, shape: sizes }) => sizes.length === 1 && sizes[0] === "d_sae" && name !== "b_enc")
		.map(({ name }) => name);
	const formulas = terms.flatMap(({ activation, penalty }) => [
		activation.value,
		activation.dz,
		...Object.values(activation.d ?? {}),
		...(penalty ? [penalty.value, penalty.df, penalty.dz, penalty.dnorm, penalty.batch?.beside] : []),
		...Object.values(penalty?.d ?? {}),
	]);
	const normed = !hasUnitRows(spec, "W_dec") && (spec.revival !== undefined || mentions(formulas, "norm"));
	const derived = [...(normed ? (["norm"] as const) : []), ...(spec.revival ? (["dead"] as const) : [])];
	const shared = new Set(
		terms.flatMap(({ activation, penalty }) => [
			...Object.keys(activation.d ?? {}),
			...Object.keys(penalty?.d ?? {}),
			// Rows of unit norm lose what pulls along them.
			...(normed && penalty?.dnorm !== undefined ? ["norm"] : []),
		]),
	);
	for (const name of Object.keys(spec.revival?.dthreshold ?? {})) shared.add(name);
	const gradientRows = [
		"b_enc",
		...vectors,
		...(shared.has("norm") ? ["norm"] : []),
		...(shared.has("b_enc") ? ["z"] : []),
	];
	return {
		terms,
		blocks,
		fixedEntries,
		unbounded: terms.some(({ room }) => room === 0),
		vectors,
		derived,
		names: { vectors: ["b_enc", ...vectors, ...derived], scalars: Object.keys(spec.scalars ?? {}) },
		weighed:
			shape.tilted === true ||
			spec.revival !== undefined ||
			terms.some(({ activated, decoder }) => activated || decoder === "frozen"),
		shares: gradientRows.filter((name) => shared.has(name)),
		gradientRows,
	};
}

/** Whether the rows of this matrix keep unit norm. */
export function hasUnitRows({ parameters }: TrainingSpec, matrix: string): boolean {
	return parameters.some(({ name, constraint }) => name === matrix && constraint === "unit_rows");
}

/** The block of a term that has its whole reconstruction. */
export function lastBlock({ firstBlock, parts }: PlacedTerm): number {
	return firstBlock + parts - 1;
}

/** The first blocks of the terms that b_dec learns from: their errors have those of all further parts in them. */
export function biasBlocks(terms: readonly PlacedTerm[]): number[] {
	return terms
		.filter(({ bias, decoder }) => bias && decoder !== "frozen")
		.map(({ firstBlock }) => firstBlock);
}

/** Those that a description has. */
function denseMatrices({ parameters }: TrainingSpec, sizes: Layout): DenseSize[] {
	const size = (name: Size) => (typeof name === "number" ? name : sizes[name]);
	return parameters
		.filter(({ name }) => DENSE.includes(name))
		.map(({ name, shape }) => ({
			name,
			rows: shape.length === 1 ? 1 : size(shape[0]!),
			columns: size(shape.at(-1)!),
		}));
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
	const further: GPUBuffer[] = [];
	const floats = (label: string, count: number) => {
		const buffer = gpu.buffer(label, count * 4);
		further.push(buffer);
		return buffer;
	};
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
		constants(...words) {
			const uniform = gpu.constants(...words);
			further.push(uniform);
			return uniform;
		},
		floats,
		further,
	};
}

/** Rows of the encoder: one per latent, but two per latent's square root where latents are pairs of keys. */
export function keysOf({ loss }: TrainingSpec, d_sae: number): number {
	return loss[0].select.kind === "product_keys" ? 2 * Math.round(Math.sqrt(d_sae)) : d_sae;
}

/** The next place in the carry. */
export function nextSlot({ slots }: Work): number {
	if (slots.count === MAX_SLOTS) throw new Error("too many selections");
	return slots.count++;
}

function allocate(
	gpu: Gpu,
	spec: TrainingSpec,
	shape: StepShape,
	plan: Plan,
	layout: Layout,
	{ codeRows, entries, segments }: Record<"codeRows" | "entries" | "segments", number>,
) {
	const { width, outWidth, latents, paddedRows, shards } = layout;
	const skips = spec.parameters.some(({ name }) => name === "W_skip");
	const candidates = denseMatrices(spec, layout).find(({ name }) => name === "candidates");
	const mixtureWidth = candidates ? denseWidth({ columns: candidates.rows }) : 0;
	const floats = (label: string, count: number) => gpu.buffer(label, count * 4);
	const blocks = (rows: number) => Math.ceil(rows / COLUMN_BLOCK);
	const x = floats("rows", paddedRows * width);
	const separate = shape.d_out !== undefined;
	const y = separate ? floats("targets", paddedRows * outWidth) : x;
	const value = floats("code values", entries);
	return {
		step: gpu.uniform("step", STEP_PARAMS_BYTES),
		raw: floats("arriving rows", shape.rows * shape.d_in),
		rawTargets: floats("arriving targets", separate ? shape.rows * layout.d_out : 0),
		rowScales: floats("row scales", shape.rowScales ? shape.rows : 0),
		columnScales: floats("column scales", shape.columnScales?.length ?? 0),
		targetScales: floats("target scales", shape.targetScales?.length ?? 0),
		x,
		/** What is to be reconstructed. */
		y,
		/** The same without what a skip connection explains. */
		unskipped: skips ? floats("targets without the skip connection", paddedRows * outWidth) : y,
		transposedErrors: floats("transposed errors", skips ? roundUp(outWidth, TILE) * paddedRows : 0),
		transposedRows: floats("transposed rows", skips ? roundUp(width, TILE) * paddedRows : 0),
		skipGradient: floats("W_skip gradient", skips ? roundUp(outWidth, TILE) * width : 0),
		/** Of a W_dec that is made of other parameters. */
		decoderGradient: floats("W_dec gradient", spec.decoder ? latents * outWidth : 0),
		transposedCandidates: floats("transposed candidates", roundUp(outWidth, TILE) * mixtureWidth),
		mixtureGradient: floats("mixture gradient", latents * mixtureWidth),
		scaleGradient: floats("log scale gradient", spec.decoder ? denseWidth({ columns: 1 }) : 0),
		atomProducts: floats("products of atoms and gradients", spec.decoder ? latents : 0),
		/** What the encoder sees: x − b_dec, or x itself. */
		encoderInput: spec.apply_b_dec_to_input ? floats("centred rows", paddedRows * width) : x,
		error: floats("errors", codeRows * outWidth),
		squared: floats("squared errors", codeRows),
		index: floats("code indices", entries),
		value,
		/** Pre-activations of codes; the codes themselves where none differ. */
		z: plan.terms.some(({ activated }) => activated) ? floats("pre-activations of codes", entries) : value,
		/** Derivative of half the squared error by each code. */
		slope: floats("code slopes", entries),
		span: floats("code spans", codeRows * 2),
		sums: floats("row sums", codeRows * ROW_SUMS),
		weighed: floats("weighed codes", plan.weighed ? entries * (2 + plan.shares.length) : 0),
		rowWeight: floats("row weights", shape.rows),
		carry: floats("carry", MAX_SLOTS + 1),
		fired: floats("codes of each latent", latents),
		/** Sums of the segments of long lists, for one matrix at a time. */
		partial: floats("segment sums", segments * Math.max(width, outWidth)),
		/** [gradientRows, latents] */
		vectorGradient: floats("latent vector gradients", plan.gradientRows.length * latents),
		b_dec_gradient: floats("b_dec gradient", outWidth),
		inverseNorms: floats(
			"inverse decoder norms",
			plan.derived.includes("norm") ? latents * (spec.norm_blocks ?? 1) : 0,
		),
		reviving: floats("reviving factors", spec.revival ? latents : 0),
		revivalLoss: floats("revival losses", spec.revival ? shape.rows : 0),
		inputSums: floats("input sums", spec.revival ? width : 0),
		dead: floats("dead latents", latents + 1),
		deadFlags: floats("dead flags", latents),
		quota: floats("quotas", spec.allocation ? latents : 0),
		floor: floats("density floors", spec.allocation ? latents : 0),
		/** Partial sums over the rows of a batch, or over the latents of every shard. */
		columnScratch: floats(
			"column sums",
			Math.max(
				blocks(shape.rows),
				shards.reduce((sum, { count }) => sum + blocks(count), 0),
			) * Math.max(width, outWidth),
		),
		control: floats("control", CONTROL.length),
		report: floats("report", REPORT.length),
	};
}
