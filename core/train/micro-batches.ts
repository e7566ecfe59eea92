/**
 * A batch, and the micro-batches that it is computed in: one, the batch itself, unless fewer rows are to be computed at a
 * time. Micro-batches use the same buffers one after the other; what belongs to the batch lies beside them: a few
 * figures for each of its rows, and its gradients.
 */
import type { Gpu } from "../../kernels/gpu.ts";
import { planLayout, roundUp, TILE } from "../../kernels/layout.ts";
import type { Copy } from "../../kernels/program.ts";
import { STEP_PARAMS_BYTES } from "../../kernels/wgsl.ts";
import type { TrainingSpec } from "../architecture.ts";
import type { ParameterStore } from "../gpu/parameters.ts";
import { rowBuffers, rowNumbers, varying } from "./buffers.ts";
import { microRows, type StepShape } from "./plan.ts";
import { type Common, planWork, type Work } from "./work.ts";

export interface Batch {
	/** The batch as a whole. Where it is not computed at once, its buffers for a row's values are a micro-batch's. */
	readonly whole: Work;
	readonly parts: readonly Part[];
}

export interface Part {
	/** The last micro-batch may have fewer rows; the others are all the same. */
	readonly work: Work;
	/** First row. */
	readonly first: number;
}

/** Lays a batch out. `capacity` and `parameters` as for {@link planWork}; `capacity` is of a micro-batch. */
export function planBatch(
	gpu: Gpu,
	spec: TrainingSpec,
	shape: StepShape,
	capacity: number,
	parameters?: ParameterStore,
): Batch {
	const rows = microRows(shape);
	const planned = planWork(gpu, spec, { ...shape, rows }, capacity, parameters);
	if (rows === shape.rows) return { whole: planned, parts: [{ work: planned, first: 0 }] };
	const work = { ...planned, common: commonOf(planned) };
	const count = Math.ceil(shape.rows / rows);
	const left = shape.rows % rows;
	const last = left === 0 ? work : withRows(work, left);
	return {
		whole: wholeOf(work, shape, count),
		parts: Array.from({ length: count }, (_, i) => ({ work: i + 1 < count ? work : last, first: i * rows })),
	};
}

function commonOf({ gpu, parameters, buffers }: Work): Common {
	const shared = new Map<string, GPUBuffer>();
	const rows = (name: "W_enc" | "W_dec") => {
		const { shards, width, moments } = parameters[name];
		if (moments.length === 0) return [buffers.decoderGradient];
		return shards.map(({ count }) => gpu.buffer(`${name} gradient`, count * width * 4));
	};
	const gradients = { W_enc: rows("W_enc"), W_dec: rows("W_dec") };
	return {
		step: gpu.uniform("step of the batch", STEP_PARAMS_BYTES),
		gradients,
		shared(label, count) {
			const buffer = shared.get(label) ?? gpu.buffer(label, count * 4);
			shared.set(label, buffer);
			return buffer;
		},
		free() {
			for (const buffer of [...shared.values(), ...Object.values(gradients).flat()]) buffer.destroy();
		},
	};
}

function wholeOf(work: Work, shape: StepShape, parts: number): Work {
	const floats = (label: string, count: number) => work.gpu.buffer(label, count * 4);
	const own = rowBuffers({ ...work, shape }, floats, parts);
	const carry = floats("entries needed by each micro-batch", parts);
	return {
		...work,
		shape,
		codeRows: work.blocks * shape.rows,
		buffers: { ...work.buffers, ...own, carry, step: work.common!.step },
	};
}

/** The same for fewer rows, in the same buffers. */
function withRows(work: Work, rows: number): Work {
	const { gpu, buffers, parameters } = work;
	const shape = { ...work.shape, rows };
	const layout = planLayout({ ...shape, keys: work.layout.keys }, gpu.maxBinding);
	const { width, outWidth, paddedRows } = layout;
	// Padding has to be zero here, where rows of the larger ones would lie.
	const skips = parameters.dense.W_skip !== undefined;
	const transposed = (label: string, columns: number) =>
		gpu.buffer(label, skips ? roundUp(columns, TILE) * paddedRows * 4 : 0);
	return {
		...work,
		shape,
		layout,
		codeRows: work.blocks * rows,
		slots: { count: 0 },
		...work.again(),
		buffers: {
			...buffers,
			transposedErrors: transposed("transposed errors", outWidth),
			transposedRows: transposed("transposed rows", width),
		},
	};
}

/** What of a micro-batch's forward pass belongs to the batch; `needed`: where its carry says how much room it needs. */
export function gather({ whole, parts }: Batch, part: Part, needed: number): Copy[] {
	const { work, first } = part;
	const { rows } = work.shape;
	const place = parts.indexOf(part);
	const copy = (
		name: keyof Work["buffers"],
		from: { readonly at: number; readonly to: number; readonly count: number },
	): Copy => ({
		from: work.buffers[name],
		fromOffset: from.at * 4,
		to: whole.buffers[name],
		toOffset: from.to * 4,
		bytes: from.count * 4,
	});
	const { outWidth } = work.layout;
	return [
		...rowNumbers(work).flatMap(({ name, each, blocks }) =>
			Array.from({ length: blocks }, (_, block) =>
				copy(name, {
					at: block * rows * each,
					to: (block * whole.shape.rows + first) * each,
					count: rows * each,
				}),
			),
		),
		...varying(work).map((of) => copy(`${of}Sums`, { at: 0, to: place * outWidth, count: outWidth })),
		copy("carry", { at: needed, to: place, count: 1 }),
	];
}

/** What of the batch a micro-batch's gradients need. */
export function scatter({ whole }: Batch, { work, first }: Part): Copy[] {
	const { rows, tilted } = work.shape;
	if (!tilted) return [];
	const [from, to] = [whole.buffers.rowWeight, work.buffers.rowWeight];
	return [{ from, fromOffset: first * 4, to, toOffset: 0, bytes: rows * 4 }];
}

/** Frees all but the parameters. */
export function freeBatch({ whole, parts }: Batch): void {
	const works = new Set([whole, ...parts.map(({ work }) => work)]);
	for (const buffer of new Set([...works].flatMap(({ buffers }) => Object.values(buffers)))) buffer.destroy();
	whole.common?.free();
	whole.free();
}
