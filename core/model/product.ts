/**
 * Products with a checkpoint's matrices, shard by shard. Weights of 16 bits become float32 on the way; on tensor cores both
 * operands become float16, in as many parts as float32's precision takes.
 */
import type { Gpu } from "../../kernels/gpu.ts";
import { roundUp, TILE } from "../../kernels/layout.ts";
import { denseProduct, tileGroups } from "../../kernels/matmul.ts";
import { partsOf, splitRows } from "../../kernels/model/split.ts";
import { unpackGroups, unpackWeights } from "../../kernels/model/unpack.ts";
import { type Binding, type Dispatch, dispatch, grid } from "../../kernels/program.ts";
import type { DeviceMatrix } from "./weights.ts";

/** Rows of float32 on the device. */
export interface Rows {
	/** [rows, stride]; padding is zero. */
	readonly buffer: GPUBuffer;
	readonly width: number;
	readonly stride: number;
}

/** What a grid depends on: rows of the batch, and blocks of queries. */
export interface Extent {
	readonly rows: number;
	readonly blocks: number;
}

/** A kernel whose grid depends on the batch. */
export interface Step {
	readonly dispatch: Dispatch;
	groups(extent: Extent): Dispatch["groups"];
}

export function step(
	gpu: Gpu,
	label: string,
	code: string,
	bindings: readonly Binding[],
	groups: (extent: Extent) => number | Dispatch["groups"],
): Step {
	return {
		dispatch: dispatch(gpu, label, code, bindings, 1),
		groups(extent) {
			const wanted = groups(extent);
			return typeof wanted === "number" ? grid(wanted) : wanted;
		},
	};
}

/** How exact products are: as float32 has them, or of operands that are rounded to float16 where tensor cores are. */
export type Precision = "float32" | "half";

/** Rows that products can be made of, once the steps have run. */
export interface Operand {
	readonly steps: readonly Step[];
	readonly rows: Rows;
	/** The first of the rows that are meant. */
	readonly first: number;
	/** On devices with tensor cores: those rows as float16, in one or two parts. */
	readonly halves?: Halves;
}

/** In how many parts of float16 rows come. */
export function partsIn(precision: Precision | undefined): 1 | 2 {
	return precision === "half" ? 1 : 2;
}

/** Rows in parts of float16 (kernels/model/split.ts). */
export interface Halves {
	readonly buffer: GPUBuffer;
	readonly scales: GPUBuffer;
}

/** Makes products, which share one array for weights as these need them, and one for operands of a size. */
export class Products {
	readonly #gpu: Gpu;
	readonly #own: (buffer: GPUBuffer) => GPUBuffer;
	readonly #largest: number;
	/** In how many parts of float16 rows come. */
	readonly parts: 1 | 2;
	#unpacked: GPUBuffer | undefined;
	#weightScales: GPUBuffer | undefined;
	readonly #halves = new Map<number, Halves>();

	/** `largest`: numbers of the largest shard; `own` is told of every buffer that is made. */
	constructor(
		gpu: Gpu,
		largest: number,
		own: (buffer: GPUBuffer) => GPUBuffer,
		precision: Precision = "float32",
	) {
		this.#gpu = gpu;
		this.#largest = largest;
		this.#own = own;
		this.parts = partsIn(precision);
	}

	/**
	 * Rows as products need them; `first`: where those of the batch begin. It holds until the rows change or there is another
	 * operand as wide.
	 */
	operand(rows: Rows, first = 0): Operand {
		if (!this.#gpu.halfProduct) return { steps: [], rows, first };
		const key = rows.buffer.size;
		const { step, halves } = this.split(rows, first, this.#halves.get(key));
		this.#halves.set(key, halves);
		return { steps: [step], rows, first, halves };
	}

	/** Rows as float16, from the first that is meant; in arrays of their own, unless there are some. */
	split(rows: Rows, first = 0, into?: Halves): { readonly step: Step; readonly halves: Halves } {
		const gpu = this.#gpu;
		const { buffer, stride } = rows;
		const count = buffer.size / (stride * 4);
		const { parts } = this;
		const halves = into ?? {
			buffer: this.#own(gpu.buffer("halves", count * stride * 2 * parts)),
			scales: this.#own(gpu.buffer("scales of rows", count * 4)),
		};
		const place = this.#own(gpu.constants(first, count - first, stride / 4));
		const code = splitRows("f32", parts, gpu.threads(64));
		const bindings = [place, buffer, halves.buffer, halves.scales];
		return { step: step(gpu, "split rows", code, bindings, ({ rows }) => rows), halves };
	}

	/** to = operand · matrixᵀ + bias, for the rows of the batch. */
	steps(label: string, matrix: DeviceMatrix, operand: Operand, to: Rows, bias?: GPUBuffer): Step[] {
		return matrix.shards.flatMap(({ start, count, buffer }) => {
			const offset = start * 4;
			const out = { buffer: to.buffer, offset, size: to.buffer.size - offset };
			const added = bias && { buffer: bias, offset, size: count * 4 };
			const { halves } = operand;
			return halves
				? this.#halved(label, matrix, halves, { count, buffer }, to.stride, out, added)
				: this.#whole(label, matrix, operand, { count, buffer }, to.stride, out, added);
		});
	}

	#whole(
		label: string,
		matrix: DeviceMatrix,
		{ rows: from, first }: Operand,
		shard: { readonly count: number; readonly buffer: GPUBuffer },
		stride: number,
		out: Binding,
		bias: Binding | undefined,
	): Step[] {
		const gpu = this.#gpu;
		const tile = gpu.tiles.large;
		const place = this.#own(gpu.constants(first, 0, matrix.stride / 4, stride / 4));
		const { weights, steps } = this.#asFloat32(matrix, shard.count, shard.buffer);
		const bindings = [place, from.buffer, weights, out, ...(bias ? [bias] : [])];
		const groups = ({ rows }: Extent) => tileGroups(tile, roundUp(rows, tile.rows), shard.count);
		return [...steps, step(gpu, label, denseProduct(tile, bias ? "bias" : "set"), bindings, groups)];
	}

	#asFloat32({ format, stride }: DeviceMatrix, count: number, buffer: GPUBuffer) {
		if (format === "f32") return { weights: buffer, steps: [] };
		const gpu = this.#gpu;
		const weights = this.#shared();
		const numbers = count * stride;
		const size = this.#own(gpu.constants(numbers / 4));
		const bindings = [size, buffer, weights];
		const unpack = step(gpu, "unpack", unpackWeights(format), bindings, () => unpackGroups(numbers));
		return { weights, steps: [unpack] };
	}

	/** Weights are split anew in every pass: that takes a hundredth of the product's time, and no memory. */
	#halved(
		label: string,
		{ format, stride }: DeviceMatrix,
		halves: Halves,
		{ count, buffer }: { readonly count: number; readonly buffer: GPUBuffer },
		outStride: number,
		out: Binding,
		bias: Binding | undefined,
	): Step[] {
		const gpu = this.#gpu;
		const half = gpu.halfProduct!;
		const parts = { a: this.parts, b: this.parts === 1 ? this.parts : partsOf(format) };
		const weights = this.#shared();
		this.#weightScales ??= this.#own(gpu.buffer("scales of weights", (this.#largest / TILE) * 4));
		const split = step(
			gpu,
			"split weights",
			splitRows(format, parts.b, gpu.threads(64)),
			[this.#own(gpu.constants(0, count, stride / 4)), buffer, weights, this.#weightScales],
			() => count,
		);
		const place = this.#own(gpu.constants(0, 0, stride / 4, outStride / 4));
		const product = step(
			gpu,
			label,
			half.dense(parts, bias !== undefined),
			[place, halves.buffer, weights, halves.scales, this.#weightScales, out, ...(bias ? [bias] : [])],
			({ rows }) => tileGroups(half, roundUp(rows, half.rows), count),
		);
		return [split, product];
	}

	#shared(): GPUBuffer {
		this.#unpacked ??= this.#own(this.#gpu.buffer("weights of a product", this.#largest * 4));
		return this.#unpacked;
	}
}
