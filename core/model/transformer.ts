/**
 * A language model's forward pass on the device, in float32. Sequences of any lengths lie behind each other as rows,
 * without padding; a pass goes as far as the last hook point that somebody asked for.
 */
import type { Gpu } from "../../kernels/gpu.ts";
import { unpadRows } from "../../kernels/layout.ts";
import { profile, type Timing } from "../../kernels/profile.ts";
import { type Dispatch, submit } from "../../kernels/program.ts";
import { SaeError } from "../errors.ts";
import type { LogitHead } from "./head.ts";
import { type HookPoint, hookPoints, lastOf } from "./hooks.ts";
import { partsOf } from "./parts.ts";
import type { Extent, Precision } from "./product.ts";
import { type Inputs, type Item, type Program, ProgramBuilder } from "./program.ts";
import type { ModelSpec } from "./spec.ts";
import type { Weights } from "./weights.ts";

export interface TransformerOptions {
	/** Rows of a pass at most; as many as suit the device unless given. */
	readonly rows?: number;
	/** Positions of a sequence at most; those that the model was made for unless given. */
	readonly context?: number;
	/** Layers to load; all unless given. */
	readonly layers?: number;
	/** Whether to load what comes after the layers: the final norm and the unembedding. */
	readonly head?: boolean;
	/** Of products on tensor cores; float32's unless given, which is what all others are in. */
	readonly precision?: Precision;
	/** Sequences whose keys and values are kept between passes; none unless given. */
	readonly slots?: number;
}

/** Token ids of sequences that lie behind each other. */
export interface TokenBatch {
	readonly tokens: Uint32Array;
	readonly sequences: readonly Sequence[];
}

export interface Sequence {
	/** Tokens of this sequence in the batch. */
	readonly length: number;
	/** With a cache: where it is kept, and how many of its positions came in passes before. */
	readonly slot?: number;
	readonly past?: number;
}

/** Rows of a hook point on the device, until the pass goes on. */
export interface HookValue {
	readonly point: HookPoint;
	/** [rows, stride], float32; numbers past the point's width are zero and must stay so. */
	readonly buffer: GPUBuffer;
	readonly rows: number;
	readonly stride: number;
}

/**
 * Called when the pass comes to a hook point; the pass goes on when it returns. It may submit work that reads the
 * value, or that replaces it: what comes later sees the replacement.
 */
export type HookHandler = (value: HookValue) => void | Promise<void>;

export class Transformer {
	readonly spec: ModelSpec;
	/** Rows of a pass, and positions of a sequence, at most. */
	readonly rows: number;
	readonly context: number;
	readonly points: readonly HookPoint[];
	/** Logits and losses; undefined when they were not asked for. */
	readonly head: LogitHead | undefined;
	readonly #gpu: Gpu;
	readonly #afterClose: () => void;
	readonly #items: readonly Item[];
	readonly #inputs: Inputs;
	readonly #blockRows: number;
	readonly #cached: boolean;
	readonly #buffers: readonly GPUBuffer[];

	private constructor(gpu: Gpu, spec: ModelSpec, program: Program, afterClose: () => void) {
		this.#afterClose = afterClose;
		this.#gpu = gpu;
		this.spec = spec;
		this.rows = program.rows;
		this.context = program.context;
		this.points = hookPoints(spec);
		this.head = program.head;
		this.#items = program.items;
		this.#inputs = program.inputs;
		this.#blockRows = program.blockRows;
		this.#cached = program.cached;
		this.#buffers = program.buffers;
	}

	/**
	 * Loads what is needed of a model's weights, and closes them.
	 *
	 * @throws SaeError for tensors that are missing or of another shape; GpuError where memory is short.
	 */
	static async open(
		gpu: Gpu,
		spec: ModelSpec,
		weights: Weights,
		options: TransformerOptions = {},
		afterClose = () => {},
	): Promise<Transformer> {
		try {
			const { linears, norms } = partsOf(spec, options);
			weights.check(linears, norms, spec.d_model);
			const builder = await ProgramBuilder.create(gpu, spec, weights, options);
			await builder.embed();
			for (const [l, layer] of spec.layers.slice(0, options.layers).entries()) await builder.layer(l, layer);
			if (options.head ?? true) await builder.final();
			return new Transformer(gpu, spec, builder.program(), afterClose);
		} finally {
			await weights.close();
		}
	}

	/**
	 * Runs sequences through the model, as far as the last of the hook points.
	 *
	 * @param hooks by the names of `points`.
	 * @throws SaeError for token ids that the model lacks and batches that are too large.
	 */
	async run(batch: TokenBatch, hooks: ReadonlyMap<string, HookHandler>): Promise<void> {
		const extent = this.#upload(batch);
		const last = this.points[lastOf(this.points, hooks.keys())]?.name;
		let pending: Dispatch[] = [];
		const flush = () => {
			if (pending.length > 0) submit(this.#gpu, pending);
			pending = [];
		};
		if (last === undefined) return;
		for (const item of chosen(this.#items, hooks)) {
			if (item.kind === "step") {
				pending.push({ ...item.step.dispatch, groups: item.step.groups(extent) });
				continue;
			}
			const handler = hooks.get(item.name);
			// A layer at a time, so that the device has work early and no submission takes long.
			if (handler || item.name.endsWith(".hook_resid_post")) flush();
			if (handler) {
				const point = this.points.find(({ name }) => name === item.name)!;
				const { buffer, stride } = item.value;
				await handler({ point, buffer, stride, rows: extent.rows });
			}
			if (item.name === last) {
				flush();
				return;
			}
		}
		throw new SaeError(`hook point ${last}: the model was opened without what it needs`);
	}

	/** How long each kernel takes, as far as a hook point, in their order. */
	profile(batch: TokenBatch, last: string): Promise<Timing[]> {
		const extent = this.#upload(batch);
		const items = chosen(this.#items, new Set([last]));
		const end = items.findIndex((item) => item.kind === "point" && item.name === last);
		const steps = items.slice(0, end).flatMap((item) => (item.kind === "step" ? [item.step] : []));
		return profile(
			this.#gpu,
			steps.map(({ dispatch, groups }) => ({ ...dispatch, groups: groups(extent) })),
		);
	}

	/** The rows of a hook point as they are now: what the pass does later does not change what is read. */
	async read({ buffer, rows, stride, point }: HookValue): Promise<Float32Array> {
		const bytes = await this.#gpu.read(buffer, 0, rows * stride * 4);
		return unpadRows(new Float32Array(bytes), point.width, stride, rows);
	}

	/** Replaces the rows of a hook point, of which `data` has [rows, width]: what the pass does later works on these. */
	write({ buffer, rows, stride, point: { width } }: HookValue, data: Float32Array): void {
		const padded = new Float32Array(rows * stride);
		for (let row = 0; row < rows; row++) {
			padded.set(data.subarray(row * width, (row + 1) * width), row * stride);
		}
		this.#gpu.write(buffer, padded);
	}

	/** Frees the model's memory; the device stays open, unless it was opened for the model. */
	close(): void {
		for (const buffer of this.#buffers) buffer.destroy();
		this.head?.close();
		this.#afterClose();
	}

	#upload({ tokens, sequences }: TokenBatch): Extent {
		const gpu = this.#gpu;
		gpu.check();
		const rows = tokens.length;
		const total = sequences.reduce((sum, { length }) => sum + length, 0);
		if (total !== rows) throw new SaeError(`the sequences have ${total} tokens, but ${rows} were given`);
		if (rows > this.rows) throw new SaeError(`a pass takes ${this.rows} tokens, not ${rows}`);
		for (const token of tokens) {
			if (token >= this.spec.vocab) {
				throw new SaeError(`token id ${token}: the model has the ids 0 to ${this.spec.vocab - 1}`);
			}
		}
		const positions = new Uint32Array(rows);
		const places = new Uint32Array(rows);
		const blocks: number[] = [];
		let row = 0;
		for (const { length, slot = 0, past = 0 } of sequences) {
			if (past + length > this.context) {
				throw new SaeError(`a sequence of ${past + length} tokens: ${this.context} positions are possible`);
			}
			const firstKey = this.#cached ? slot * this.context : row;
			for (let i = 0; i < length; i++) {
				positions[row + i] = past + i;
				places[row + i] = firstKey + past + i;
			}
			// Those with the most keys first, so that the device does not end with a few long ones.
			for (let block = Math.ceil(length / this.#blockRows) - 1; block >= 0; block--) {
				const i = block * this.#blockRows;
				blocks.push(row + i, Math.min(this.#blockRows, length - i), firstKey, past + i);
			}
			row += length;
		}
		gpu.write(this.#inputs.tokens, Uint32Array.from(tokens));
		gpu.write(this.#inputs.positions, positions);
		gpu.write(this.#inputs.places, places);
		gpu.write(this.#inputs.blocks, Uint32Array.from(blocks));
		return { rows, blocks: blocks.length / 4 };
	}
}

type Plain = Exclude<Item, { kind: "choice" }>;

/** The kernels and points of a pass that is asked for these hook points. */
function chosen(items: readonly Item[], asked: { has(name: string): boolean }): Plain[] {
	return items.flatMap((item): Plain[] => {
		if (item.kind !== "choice") return [item];
		const wanted = item.items.some((inner) => inner.kind === "point" && asked.has(inner.name));
		return wanted ? chosen(item.items, asked) : [{ kind: "step", step: item.instead }];
	});
}
