/** What the phases of a training step share: the description, the shapes and the buffers they hand each other. */

import { COLUMN_BLOCK } from "../../kernels/columns.ts";
import type { Gpu } from "../../kernels/gpu.ts";
import { type Layout, planLayout, roundUp } from "../../kernels/layout.ts";
import { CONTROL, REPORT } from "../../kernels/loss.ts";
import type { RowFormat } from "../../kernels/prepare.ts";
import { ENTRY_BYTES } from "../../kernels/transpose.ts";
import { mostSegments } from "../../kernels/update.ts";
import { STEP_PARAMS_BYTES } from "../../kernels/wgsl.ts";
import type { LossTerm, Schedule, TrainingSpec } from "../architecture.ts";
import { ParameterStore } from "../gpu/parameters.ts";

export interface StepShape {
	readonly d_in: number;
	readonly d_sae: number;
	/** Rows of every batch. */
	readonly rows: number;
	/** How rows arrive. */
	readonly format: RowFormat;
	/** Whether gradients are clipped by their global norm, which costs a second pass over the codes. */
	readonly clip: boolean;
}

/** A loss term with its place among the codes. */
export interface PlacedTerm extends LossTerm {
	readonly number: number;
	/** First of its code rows; every term has one per row of the batch. */
	readonly codeRow: number;
	/** First of its entries; every row has room for `maxK`. */
	readonly entry: number;
	readonly maxK: number;
}

export interface Work {
	readonly gpu: Gpu;
	readonly spec: TrainingSpec;
	readonly shape: StepShape;
	readonly layout: Layout;
	readonly terms: readonly PlacedTerm[];
	/** Code rows and entries of all terms. */
	readonly codeRows: number;
	readonly entries: number;
	readonly parameters: ParameterStore;
	readonly buffers: Buffers;
	/** A uniform of u32 that never change. */
	constants(...words: number[]): GPUBuffer;
	/** A further buffer of float32 (or u32) elements. */
	floats(label: string, count: number): GPUBuffer;
	/** What `floats` and `constants` made. */
	readonly further: readonly GPUBuffer[];
}

type Buffers = ReturnType<typeof allocate>;

export function planWork(gpu: Gpu, spec: TrainingSpec, shape: StepShape): Work {
	const layout = planLayout(shape, gpu.maxBinding);
	const { terms, entries } = placeTerms(spec.loss, shape.rows);
	const codeRows = terms.length * shape.rows;
	const further: GPUBuffer[] = [];
	return {
		gpu,
		spec,
		shape,
		layout,
		terms,
		codeRows,
		entries,
		parameters: new ParameterStore(gpu, layout, { moments: true }),
		buffers: allocate(gpu, spec, shape, layout, codeRows, entries),
		constants(...words) {
			// Whole vectors of four, as kernels declare them.
			const padded = new Uint32Array(roundUp(words.length, 4));
			padded.set(words);
			const uniform = gpu.uniform("constants", padded.byteLength);
			gpu.write(uniform, padded);
			further.push(uniform);
			return uniform;
		},
		floats(label, count) {
			const buffer = gpu.buffer(label, count * 4);
			further.push(buffer);
			return buffer;
		},
		further,
	};
}

/** The largest value that a schedule takes. */
export function largest(schedule: Schedule): number {
	return typeof schedule === "number" ? schedule : Math.max(schedule.from, schedule.to);
}

function placeTerms(loss: readonly LossTerm[], rows: number): { terms: PlacedTerm[]; entries: number } {
	let entries = 0;
	const terms = loss.map((term, number) => {
		const maxK = largest(term.select.k);
		const placed = { ...term, number, codeRow: number * rows, entry: entries, maxK };
		entries += rows * maxK;
		return placed;
	});
	return { terms, entries };
}

function allocate(
	gpu: Gpu,
	spec: TrainingSpec,
	shape: StepShape,
	layout: Layout,
	codeRows: number,
	entries: number,
) {
	const { width, latents, paddedRows, shards } = layout;
	const floats = (label: string, count: number) => gpu.buffer(label, count * 4);
	const blocks = (rows: number) => Math.ceil(rows / COLUMN_BLOCK);
	const x = floats("rows", paddedRows * width);
	return {
		step: gpu.uniform("step", STEP_PARAMS_BYTES),
		raw: floats("arriving rows", shape.rows * shape.d_in),
		x,
		/** What the encoder sees: x − b_dec, or x itself. */
		encoderInput: spec.apply_b_dec_to_input ? floats("centred rows", paddedRows * width) : x,
		error: floats("errors", codeRows * width),
		squared: floats("squared errors", codeRows),
		index: floats("code indices", entries),
		value: floats("code values", entries),
		/** Derivative of half the squared error by each code. */
		slope: floats("code slopes", entries),
		span: floats("code spans", codeRows * 2),
		offsets: floats("entries before each latent", latents + 1),
		entries: gpu.buffer("entries by latent", entries * ENTRY_BYTES),
		arrived: floats("unordered entries", entries * 2),
		rank: floats("entry ranks", entries),
		segmentOffsets: floats("segments before each latent", latents + 1),
		segmentLatents: floats("latent of each segment", mostSegments(entries)),
		/** Sums of the segments of long lists, for one matrix at a time. */
		partial: floats("segment sums", mostSegments(entries) * width),
		b_enc_gradient: floats("b_enc gradient", latents),
		b_dec_gradient: floats("b_dec gradient", width),
		dead: floats("dead latents", latents + 1),
		/** Partial sums over the rows of a batch, or over the latents of every shard. */
		columnScratch: floats(
			"column sums",
			Math.max(
				blocks(shape.rows),
				shards.reduce((sum, { count }) => sum + blocks(count), 0),
			) * width,
		),
		control: floats("control", CONTROL.length),
		report: floats("report", REPORT.length),
	};
}
