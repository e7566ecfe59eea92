/** Products with a checkpoint's matrices, shard by shard; weights of 16 bits become float32 on the way. */
import type { Gpu } from "../../kernels/gpu.ts";
import { roundUp } from "../../kernels/layout.ts";
import { denseProduct, tileGroups } from "../../kernels/matmul.ts";
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

/** Makes products, which share one array for unpacked weights. */
export class Products {
	readonly #gpu: Gpu;
	readonly #own: (buffer: GPUBuffer) => GPUBuffer;
	readonly #largest: number;
	#unpacked: GPUBuffer | undefined;

	/** `largest`: numbers of the largest shard; `own` is told of every buffer that is made. */
	constructor(gpu: Gpu, largest: number, own: (buffer: GPUBuffer) => GPUBuffer) {
		this.#gpu = gpu;
		this.#largest = largest;
		this.#own = own;
	}

	/** to = from · matrixᵀ, for the rows of the batch; those of `from` begin at its row `first`. */
	steps(label: string, matrix: DeviceMatrix, from: Rows, to: Rows, first = 0): Step[] {
		const gpu = this.#gpu;
		const tile = gpu.tiles.large;
		return matrix.shards.flatMap(({ start, count, buffer }) => {
			const place = this.#own(gpu.constants(first, 0, matrix.stride / 4, to.stride / 4));
			const offset = start * 4;
			const columns = { buffer: to.buffer, offset, size: to.buffer.size - offset };
			const { weights, steps } = this.#asFloat32(matrix, count, buffer);
			const bindings = [place, from.buffer, weights, columns];
			const groups = ({ rows }: Extent) => tileGroups(tile, roundUp(rows, tile.rows), count);
			return [...steps, step(gpu, label, denseProduct(tile, "set"), bindings, groups)];
		});
	}

	#asFloat32({ format, stride }: DeviceMatrix, count: number, buffer: GPUBuffer) {
		if (format === "f32") return { weights: buffer, steps: [] };
		const gpu = this.#gpu;
		this.#unpacked ??= this.#own(gpu.buffer("unpacked weights", this.#largest * 4));
		const numbers = count * stride;
		const size = this.#own(gpu.constants(numbers / 4));
		const bindings = [size, buffer, this.#unpacked];
		const unpack = step(gpu, "unpack", unpackWeights(format), bindings, () => unpackGroups(numbers));
		return { weights: this.#unpacked, steps: [unpack] };
	}
}
