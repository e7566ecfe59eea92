/** Lays a model's forward pass out as kernels over arrays that all layers share. */
import type { Gpu } from "../../kernels/gpu.ts";
import { roundUp, TILE } from "../../kernels/layout.ts";
import { attendBlocks, attentionTile, blockRows } from "../../kernels/model/attention.ts";
import { gatherRows } from "../../kernels/model/gather.ts";
import { mapGroups, mapRows, type RowMap } from "../../kernels/model/map.ts";
import { normRows } from "../../kernels/model/norm.ts";
import { ROTATE_HEADS, rotateGroups } from "../../kernels/model/rotate.ts";
import { scatterRows } from "../../kernels/model/scatter.ts";
import { type Made, splitMade } from "../../kernels/model/split-made.ts";
import { TENSOR_QUERIES } from "../../kernels/model/tensor-attention.ts";
import type { Binding, Dispatch } from "../../kernels/program.ts";
import { type AttendHalves, attentionHalves, attentionShape } from "./attention-halves.ts";
import { LogitHead } from "./head.ts";
import { embeddings, linearsOf } from "./parts.ts";
import {
	type Extent,
	type Halves,
	type Operand,
	Products,
	partsIn,
	type Rows,
	type Step,
	step,
} from "./product.ts";
import { turnsOf } from "./rope.ts";
import type { Layer, Linear, ModelSpec, Norm, Rope } from "./spec.ts";
import type { TransformerOptions } from "./transformer.ts";
import { type DeviceMatrix, strideOf, type Weights } from "./weights.ts";

/** Kernels, and the hook points between them. */
export type Item =
	| { readonly kind: "step"; readonly step: Step }
	| { readonly kind: "point"; readonly name: string; readonly value: Rows }
	/** One kernel does what these do, where nobody asks for the hook points between them. */
	| { readonly kind: "choice"; readonly items: readonly Item[]; readonly instead: Step };

/** What a batch is uploaded to. */
export interface Inputs {
	readonly tokens: GPUBuffer;
	readonly positions: GPUBuffer;
	/** Rows of the cache that new keys and values go to. */
	readonly places: GPUBuffer;
	readonly blocks: GPUBuffer;
}

/** A model's pass, laid out for batches of up to so many rows. */
export interface Program {
	readonly rows: number;
	readonly context: number;
	readonly items: readonly Item[];
	readonly head: LogitHead | undefined;
	readonly inputs: Inputs;
	/** Queries of an attention block. */
	readonly blockRows: number;
	readonly cached: boolean;
	readonly buffers: readonly GPUBuffer[];
}

/** Rows that a pass works on, unless asked otherwise. */
const ROWS = { gpu: 8192, software: 1024 };

/** Lays the pass out, layer by layer. All layers share one set of arrays. */
export class ProgramBuilder {
	readonly #gpu: Gpu;
	readonly #spec: ModelSpec;
	readonly #weights: Weights;
	/** Attention on tensor cores. */
	readonly #attendHalves: AttendHalves | undefined;
	readonly #rows: number;
	readonly #context: number;
	readonly #slots: number;
	readonly #items: Item[] = [];
	readonly #matrices = new Map<string, Promise<DeviceMatrix>>();
	readonly #products: Products;
	#head: LogitHead | undefined;
	readonly #buffers: GPUBuffer[] = [];
	readonly #inputs: Inputs;
	/** The residual stream. */
	readonly #resid: Rows;
	/** Two arrays of the same width for what lies between. */
	readonly #x: Rows;
	readonly #out: Rows;
	readonly #q: Rows;
	readonly #k: Rows;
	readonly #v: Rows;
	readonly #z: Rows;
	/** Of queries, keys and values, where attention takes these. */
	#halves: readonly Halves[] = [];
	readonly #pre: Rows;
	readonly #gate: Rows | undefined;
	readonly #turns: GPUBuffer | undefined;

	private constructor(
		gpu: Gpu,
		spec: ModelSpec,
		weights: Weights,
		options: TransformerOptions,
		attendHalves: AttendHalves | undefined,
	) {
		this.#gpu = gpu;
		this.#spec = spec;
		this.#weights = weights;
		this.#attendHalves = attendHalves;
		this.#context = Math.min(options.context ?? spec.context, spec.context);
		const { d_model, d_head, heads, kvHeads, d_mlp } = spec;
		const numbers = [...spec.layers.slice(0, options.layers).flatMap(linearsOf), spec.unembed].map(
			({ d_in, d_out }) => Math.min(strideOf(d_in) * strideOf(d_out), gpu.maxBinding / 4),
		);
		this.#products = new Products(
			gpu,
			Math.max(...numbers),
			(buffer) => this.#own(buffer),
			options.precision,
		);
		const widest = Math.max(...[d_model, heads * d_head, d_mlp].map(strideOf));
		const usual = gpu.info.software ? ROWS.software : ROWS.gpu;
		const wanted = options.rows ?? Math.max(usual, this.#context);
		const fitting = Math.floor(gpu.maxBinding / (widest * 4) / TILE) * TILE;
		this.#rows = Math.max(1, Math.min(wanted, fitting));
		this.#slots = options.slots ?? 0;
		const rows = (width: number): Rows => {
			const stride = strideOf(width);
			const padded = roundUp(this.#rows, TILE);
			return { width, stride, buffer: this.#own(gpu.buffer("rows", padded * stride * 4)) };
		};
		this.#resid = rows(d_model);
		this.#x = rows(d_model);
		this.#out = rows(d_model);
		this.#q = rows(heads * d_head);
		this.#k = rows(kvHeads * d_head);
		this.#v = rows(kvHeads * d_head);
		this.#z = rows(heads * d_head);
		this.#pre = rows(d_mlp);
		this.#gate = spec.layers[0]?.gate ? rows(d_mlp) : undefined;
		const words = (name: string, perRow = 1) => this.#own(gpu.buffer(name, this.#rows * 4 * perRow));
		this.#inputs = {
			tokens: words("tokens"),
			positions: words("positions"),
			places: words("places"),
			blocks: words("blocks", 4),
		};
		this.#turns = spec.rope && this.#upload("turns", turnsOf(spec.rope, this.#context));
	}

	static async create(
		gpu: Gpu,
		spec: ModelSpec,
		weights: Weights,
		options: TransformerOptions,
	): Promise<ProgramBuilder> {
		// What a cache keeps is float32.
		const cached = (options.slots ?? 0) > 0;
		const attend = cached ? undefined : await attentionHalves(gpu, spec, partsIn(options.precision));
		return new ProgramBuilder(gpu, spec, weights, options, attend);
	}

	program(): Program {
		return {
			rows: this.#rows,
			context: this.#context,
			items: this.#items,
			head: this.#head,
			inputs: this.#inputs,
			blockRows: this.#attendHalves
				? TENSOR_QUERIES
				: blockRows(attentionTile(this.#gpu.info, this.#spec.d_head)),
			cached: this.#slots > 0,
			buffers: this.#buffers,
		};
	}

	async embed(): Promise<void> {
		const { scale, positions } = this.#spec.embed;
		const [tokenTable, positionTable] = embeddings(this.#spec);
		await this.#gather(tokenTable!, this.#inputs.tokens, this.#resid, scale);
		this.#point("hook_embed", this.#resid);
		if (positions === undefined) return;
		await this.#gather(positionTable!, this.#inputs.positions, this.#x, 1);
		this.#point("hook_pos_embed", this.#x);
		this.#map(this.#resid, { kind: "add" }, this.#x.buffer);
	}

	async layer(l: number, layer: Layer): Promise<void> {
		const { rope, parallel, heads, kvHeads } = this.#spec;
		const point = (name: string, value: Rows) => this.#point(`blocks.${l}.${name}`, value);
		point("hook_resid_pre", this.#resid);
		const normalised = await this.#normalisedOperand(layer.ln1, `blocks.${l}.ln1`);
		for (const [name, linear, value] of [
			["q", layer.q, this.#q],
			["k", layer.k, this.#k],
			["v", layer.v, this.#v],
		] as const) {
			await this.#linear(linear, normalised, value);
			point(`attn.hook_${name}`, value);
		}
		if (rope) {
			this.#rotate(rope, this.#q, heads);
			point("attn.hook_rot_q", this.#q);
			this.#rotate(rope, this.#k, kvHeads);
			point("attn.hook_rot_k", this.#k);
		}
		this.#attend(layer);
		point("attn.hook_z", this.#z);
		await this.#linear(layer.o, this.#operand(this.#z), this.#out);
		point("attn.out", this.#out);
		const attention = await this.#postNorm(layer.ln1Post, this.#out, this.#x);
		point("hook_attn_out", attention);
		if (parallel) {
			const normalised = await this.#normalisedOperand(layer.ln2, `blocks.${l}.ln2`);
			this.#map(this.#resid, { kind: "add" }, attention.buffer);
			await this.#mlp(l, layer, normalised);
		} else {
			const mid = { added: attention, name: `blocks.${l}.hook_resid_mid` };
			await this.#mlp(l, layer, await this.#normalisedOperand(layer.ln2, `blocks.${l}.ln2`, mid));
		}
		const mlp = await this.#postNorm(layer.ln2Post, this.#out, this.#x);
		point("hook_mlp_out", mlp);
		this.#map(this.#resid, { kind: "add" }, mlp.buffer);
		point("hook_resid_post", this.#resid);
	}

	/** What comes after the layers. */
	async final(): Promise<void> {
		const affine = await this.#affine(this.#spec.finalNorm, this.#resid);
		this.#norm(affine, this.#resid, this.#x, "ln_final");
		const matrix = await this.#matrix(this.#spec.unembed);
		this.#head = await this.#gpu.checked(
			"logits",
			() => new LogitHead(this.#gpu, this.#spec, matrix, this.#products, this.#rows),
		);
	}

	async #mlp(l: number, layer: Layer, normalised: Operand): Promise<void> {
		const { activation } = this.#spec;
		const point = (name: string, value: Rows) => this.#point(`blocks.${l}.mlp.${name}`, value);
		const gated = layer.gate ? this.#gate : undefined;
		await this.#linear(layer.gate ?? layer.up, normalised, this.#pre);
		point("hook_pre", this.#pre);
		if (gated) {
			await this.#linear(layer.up, normalised, gated);
			point("hook_pre_linear", gated);
		}
		const start = this.#items.length;
		this.#map(this.#pre, { kind: gated ? "gate" : "activate", activation }, gated?.buffer);
		point("hook_post", this.#pre);
		const operand = this.#operand(this.#pre);
		this.#atOnce(start, operand, this.#pre, { kind: "activate", activation, gated: gated !== undefined }, [
			...(gated ? [gated.buffer] : []),
		]);
		await this.#linear(layer.down, operand, this.#out);
		point("out", this.#out);
	}

	/** The residual stream normalised, as products take it; first, where there is a middle, something is added to it. */
	async #normalisedOperand(
		norm: Norm,
		name: string,
		mid?: { readonly added: Rows; readonly name: string },
	): Promise<Operand> {
		const { kind, eps } = this.#spec.norm;
		const affine = await this.#affine(norm, this.#resid);
		const start = this.#items.length;
		if (mid) {
			this.#map(this.#resid, { kind: "add" }, mid.added.buffer);
			this.#point(mid.name, this.#resid);
		}
		this.#norm(affine, this.#resid, this.#x, name);
		const operand = this.#operand(this.#x);
		const made = { kind: "norm", norm: { kind, eps }, add: mid !== undefined } as const;
		this.#atOnce(start, operand, this.#resid, made, [...(mid ? [mid.added.buffer] : []), affine]);
		return operand;
	}

	/** Offers one kernel for all that was laid out since `start`, which makes an operand of float16. */
	#atOnce(start: number, { halves }: Operand, from: Rows, made: Made, others: readonly GPUBuffer[]): void {
		if (!halves) return;
		const items = this.#items.splice(start);
		const { buffer, scales } = halves;
		const size = this.#constants(this.#rows, from.width);
		const code = splitMade(made, from.stride, this.#products.parts, 64);
		const bindings = [size, from.buffer, ...others, buffer, scales];
		const label = made.kind === "norm" ? "norm and split" : "activate and split";
		const instead = step(this.#gpu, label, code, bindings, ({ rows }) => rows);
		this.#items.push({ kind: "choice", items, instead });
	}

	async #gather(table: Linear, ids: GPUBuffer, out: Rows, scale: number): Promise<void> {
		const { format, stride, shards } = await this.#matrix(table);
		for (const { start, count, buffer } of shards) {
			const part = this.#constants(start, count, stride / 4);
			const code = gatherRows(format, scale, this.#gpu.threads(64));
			this.#step("embed", code, [part, ids, buffer, out.buffer], ({ rows }) => rows);
		}
	}

	#affine(norm: Norm, { width }: Rows): Promise<GPUBuffer> {
		const read = this.#weights.norm(norm, width, this.#spec.norm.plusOne);
		return read.then((data) => this.#upload("norm", data));
	}

	/** Two hook points: as TransformerLens has it, and what the module gives. */
	#norm(affine: GPUBuffer, from: Rows, to: Rows, name: string): void {
		this.#normalise(from, to, affine);
		this.#point(`${name}.hook_normalized`, to);
		if (this.#spec.norm.kind === "rms") this.#map(to, { kind: "scale" }, affine);
		this.#point(`${name}.out`, to);
	}

	/** Normalises what a part of the layer gave, in the models that do so. */
	async #postNorm(norm: Norm | undefined, from: Rows, to: Rows): Promise<Rows> {
		if (!norm) return from;
		const affine = await this.#affine(norm, from);
		this.#normalise(from, to, affine);
		if (this.#spec.norm.kind === "rms") this.#map(to, { kind: "scale" }, affine);
		return to;
	}

	#normalise(from: Rows, to: Rows, affine: GPUBuffer): void {
		const { kind, eps } = this.#spec.norm;
		const size = this.#constants(this.#rows, from.width, from.stride);
		const code = normRows({ kind, eps, threads: this.#gpu.threads(128) });
		this.#step("norm", code, [size, from.buffer, affine, to.buffer], ({ rows }) => rows);
	}

	#operand(rows: Rows): Operand {
		const operand = this.#products.operand(rows);
		this.#items.push(...operand.steps.map((step) => ({ kind: "step" as const, step })));
		return operand;
	}

	async #linear(linear: Linear, from: Operand, to: Rows): Promise<void> {
		const matrix = await this.#matrix(linear);
		const bias = await this.#weights.bias(linear);
		const steps = this.#products.steps(linear.weight, matrix, from, to, bias && this.#upload("bias", bias));
		this.#items.push(...steps.map((step) => ({ kind: "step" as const, step })));
	}

	#rotate({ dims }: Rope, value: Rows, heads: number): void {
		const half = dims / 2;
		this.#step(
			"rotate",
			ROTATE_HEADS,
			[
				this.#constants(heads, this.#spec.d_head, half, value.stride),
				this.#inputs.positions,
				this.#turns!,
				value.buffer,
			],
			({ rows }) => rotateGroups(rows, heads, half),
		);
	}

	#attend(layer: Layer): void {
		const { d_head, heads } = this.#spec;
		const shape = attentionShape(this.#spec, layer);
		const groups = ({ blocks }: Extent) => [heads, blocks, 1] as const;
		const { blocks } = this.#inputs;
		if (this.#attendHalves) {
			const split = [this.#q, this.#k, this.#v].map((rows, i) =>
				this.#products.split(rows, 0, this.#halves[i]),
			);
			this.#items.push(...split.map(({ step }) => ({ kind: "step" as const, step })));
			this.#halves = split.map(({ halves }) => halves);
			const operands = this.#halves.map(({ buffer }) => buffer);
			const scales = this.#halves.map(({ scales }) => scales);
			const bindings = [blocks, ...operands, ...scales, this.#z.buffer];
			this.#step("attention", this.#attendHalves(shape, this.#products.parts), bindings, groups);
			return;
		}
		const [k, v] =
			this.#slots > 0 ? [this.#kept(this.#k), this.#kept(this.#v)] : [this.#k.buffer, this.#v.buffer];
		const bindings = [blocks, this.#q.buffer, k, v, this.#z.buffer];
		this.#step("attention", attendBlocks(shape, attentionTile(this.#gpu.info, d_head)), bindings, groups);
	}

	/** A layer's cache, [slots · context, stride], with a step that puts new rows into it. */
	#kept({ buffer, stride }: Rows): GPUBuffer {
		const cache = this.#own(this.#gpu.buffer("cache", this.#slots * this.#context * stride * 4));
		const size = this.#constants(this.#rows, stride / 4);
		const code = scatterRows(this.#gpu.threads(64));
		this.#step("cache", code, [size, this.#inputs.places, buffer, cache], ({ rows }) => rows);
		return cache;
	}

	#map(value: Rows, map: RowMap, other?: GPUBuffer): void {
		this.#step(
			map.kind,
			mapRows(map),
			[this.#constants(value.stride / 4), value.buffer, ...(other ? [other] : [])],
			({ rows }) => mapGroups(rows, value.stride),
		);
	}

	#point(name: string, value: Rows): void {
		this.#items.push({ kind: "point", name, value });
	}

	#step(
		label: string,
		code: string,
		bindings: readonly Binding[],
		groups: (extent: Extent) => number | Dispatch["groups"],
	): void {
		this.#items.push({ kind: "step", step: step(this.#gpu, label, code, bindings, groups) });
	}

	/** A matrix, which embedding and unembedding may share. */
	#matrix(linear: Linear): Promise<DeviceMatrix> {
		const key = linear.part ? "" : linear.weight;
		const known = this.#matrices.get(key);
		if (known) return known;
		const loaded = this.#weights.matrix(this.#gpu, linear).then((matrix) => {
			this.#buffers.push(...matrix.shards.map(({ buffer }) => buffer));
			return matrix;
		});
		if (key !== "") this.#matrices.set(key, loaded);
		return loaded;
	}

	#upload(label: string, data: Float32Array<ArrayBuffer>): GPUBuffer {
		const buffer = this.#own(this.#gpu.buffer(label, data.byteLength));
		this.#gpu.write(buffer, data);
		return buffer;
	}

	#constants(...words: number[]): GPUBuffer {
		return this.#own(this.#gpu.constants(...words));
	}

	#own(buffer: GPUBuffer): GPUBuffer {
		this.#buffers.push(buffer);
		return buffer;
	}
}
