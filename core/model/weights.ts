/** Reads a checkpoint's tensors and puts them on the device, padded, in shards that fit its bindings. */
import { type Gpu, GpuError } from "../../kernels/gpu.ts";
import { roundUp, type Shard, TILE } from "../../kernels/layout.ts";
import type { WeightFormat } from "../../kernels/model/unpack.ts";
import { SaeError } from "../errors.ts";
import { type Dtype, toFloat32, typedView } from "../files/dtype.ts";
import { elementCount, type TensorFile, type TensorInfo } from "../files/tensor-file.ts";
import type { Linear, ModelSpec, Norm, Range } from "./spec.ts";

/** Numbers per row of arrays on the device: padding is zero and stays zero. */
export function strideOf(width: number): number {
	return roundUp(width, TILE);
}

/** A matrix [rows, stride] on the device. */
export interface DeviceMatrix {
	readonly format: WeightFormat;
	readonly stride: number;
	readonly shards: readonly (Shard & { readonly buffer: GPUBuffer })[];
}

/** Weights at most in memory at a time, besides those on the device. */
const READ_BYTES = 64 * 2 ** 20;

/** A checkpoint whose tensors are looked up by the names of a model's description. */
export class Weights {
	readonly #file: TensorFile;
	readonly #spec: Pick<ModelSpec, "prefix" | "family">;

	/** `file` is closed with it. */
	constructor(file: TensorFile, spec: Pick<ModelSpec, "prefix" | "family">) {
		this.#file = file;
		this.#spec = spec;
	}

	/** Checks names, types and shapes of everything that a model needs, before any of it is read. */
	check(linears: readonly Linear[], norms: readonly Norm[], d_model: number): void {
		for (const linear of linears) {
			this.#tensor(linear.weight, shapeOf(linear));
			if (linear.bias) this.#tensor(linear.bias, [linear.part?.of ?? linear.d_out]);
		}
		for (const { weight, bias } of norms) {
			this.#tensor(weight, [d_model]);
			if (bias) this.#tensor(bias, [d_model]);
		}
	}

	/** The matrix [d_out, d_in] on the device; 16-bit floats stay so. */
	async matrix(gpu: Gpu, linear: Linear): Promise<DeviceMatrix> {
		const info = this.#tensor(linear.weight, shapeOf(linear));
		const format = info.dtype === "f16" || info.dtype === "bf16" ? info.dtype : "f32";
		const stride = strideOf(linear.d_in);
		// As float32, which a product needs them in.
		const perShard = Math.floor(gpu.maxBinding / (stride * 4) / TILE) * TILE;
		if (perShard === 0) {
			throw new GpuError(`${linear.weight}: rows of ${linear.d_in} are too wide for this device`);
		}
		const padded = strideOf(linear.d_out);
		const bytes = format === "f32" ? 4 : 2;
		const shards = await gpu.checked(`the weights ${linear.weight}`, () =>
			Array.from({ length: Math.ceil(padded / perShard) }, (_, i) => {
				const start = i * perShard;
				const count = Math.min(perShard, padded - start);
				return { start, count, buffer: gpu.buffer(linear.weight, count * stride * bytes) };
			}),
		);
		const columns = linear.transposed ? await this.#transposed(info, linear, format) : undefined;
		const step = Math.max(1, Math.floor(READ_BYTES / (stride * 4)));
		for (const { start, count, buffer } of shards) {
			const end = Math.min(start + count, linear.d_out);
			for (let row = start; row < end; row += step) {
				const rows = Math.min(step, end - row);
				const data = newArray(format, rows * stride);
				for (const run of sourceRuns(linear, row, rows)) {
					const values =
						columns?.(run.start, run.count) ??
						(await this.#values(info, format, run.start * linear.d_in, run.count * linear.d_in));
					for (let r = 0; r < run.count; r++) {
						data.set(
							values.subarray(r * linear.d_in, (r + 1) * linear.d_in) as never,
							(run.at - row + r) * stride,
						);
					}
				}
				gpu.write(buffer, data, (row - start) * stride * bytes);
			}
		}
		return { format, stride, shards };
	}

	/** The matrix [d_out, d_in] in memory. */
	async rows(linear: Linear): Promise<Float32Array> {
		const info = this.#tensor(linear.weight, shapeOf(linear));
		const columns = linear.transposed ? await this.#transposed(info, linear, "f32") : undefined;
		const out = new Float32Array(linear.d_out * linear.d_in);
		for (const { at, start, count } of sourceRuns(linear, 0, linear.d_out)) {
			const values =
				columns?.(start, count) ??
				(await this.#values(info, "f32", start * linear.d_in, count * linear.d_in));
			out.set(values, at * linear.d_in);
		}
		return out;
	}

	/** A bias [d_out], padded. */
	async bias(linear: Linear): Promise<Float32Array<ArrayBuffer> | undefined> {
		if (!linear.bias) return undefined;
		const info = this.#tensor(linear.bias, [linear.part?.of ?? linear.d_out]);
		const out = new Float32Array(strideOf(linear.d_out));
		for (const run of sourceRuns(linear, 0, linear.d_out)) {
			out.set((await this.#values(info, "f32", run.start, run.count)) as Float32Array, run.at);
		}
		return out;
	}

	/** Weight and bias of a normalisation, [2, stride]. */
	async norm({ weight, bias }: Norm, width: number, plusOne: boolean): Promise<Float32Array<ArrayBuffer>> {
		const stride = strideOf(width);
		const out = new Float32Array(2 * stride);
		const read = async (name: string) =>
			(await this.#values(this.#tensor(name, [width]), "f32", 0, width)) as Float32Array;
		out.set(await read(weight));
		if (plusOne) for (let i = 0; i < width; i++) out[i]! += 1;
		if (bias) out.set(await read(bias), stride);
		return out;
	}

	close(): Promise<void> {
		return this.#file.close();
	}

	#tensor(name: string, shape: readonly number[]): TensorInfo & { readonly dtype: Dtype } {
		const { tensors, path } = this.#file;
		const { prefix, family } = this.#spec;
		const bare = name.startsWith(prefix) ? name.slice(prefix.length) : name;
		const info = tensors.get(name) ?? tensors.get(bare);
		if (!info) throw new SaeError(`${path}: has no tensor ${name}, which a ${family} model needs`);
		if (info.shape.join() !== shape.join()) {
			throw new SaeError(
				`${path}: ${info.name} has the shape [${info.shape.join(", ")}], config.json says [${shape.join(", ")}]`,
			);
		}
		if (!["f32", "f16", "bf16", "f64"].includes(info.dtype)) {
			throw new SaeError(`${path}: ${info.name} is of type ${info.dtype}; f32, f16 and bf16 can be run`);
		}
		return info as TensorInfo & { readonly dtype: Dtype };
	}

	/** Numbers from a place of a tensor, in the form in which the device gets them. */
	async #values(
		info: TensorInfo & { readonly dtype: Dtype },
		format: WeightFormat,
		start: number,
		count: number,
	): Promise<Float32Array | Uint16Array> {
		const bytes = await this.#file.readElements(info.name, start, count);
		return format === "f32" ? toFloat32(bytes, info.dtype) : typedView(Uint16Array, bytes);
	}

	/** Reads a tensor [in, out] whole, and gives its columns as rows. */
	async #transposed(
		info: TensorInfo & { readonly dtype: Dtype },
		{ d_in }: Linear,
		format: WeightFormat,
	): Promise<(start: number, count: number) => Float32Array | Uint16Array> {
		const all = await this.#values(info, format, 0, elementCount(info.shape));
		const outputs = info.shape[1]!;
		return (start, count) => {
			const rows = newArray(format, count * d_in);
			for (let i = 0; i < d_in; i++) {
				for (let r = 0; r < count; r++) rows[r * d_in + i] = all[i * outputs + start + r]!;
			}
			return rows;
		};
	}
}

function newArray(format: WeightFormat, length: number) {
	return format === "f32" ? new Float32Array(length) : new Uint16Array(length);
}

function shapeOf({ d_in, d_out, part, transposed }: Linear): readonly number[] {
	const outputs = part?.of ?? d_out;
	return transposed ? [d_in, outputs] : [outputs, d_in];
}

/** Where rows of a map lie in its tensor: runs that begin at row `at` of the map and row `start` of the tensor. */
function sourceRuns({ part, d_out }: Linear, first: number, count: number): (Range & { at: number })[] {
	const runs: (Range & { at: number })[] = [];
	let at = 0;
	for (const range of part?.ranges ?? [{ start: 0, count: d_out }]) {
		const from = Math.max(first, at);
		const to = Math.min(first + count, at + range.count);
		if (from < to) runs.push({ at: from, start: range.start + from - at, count: to - from });
		at += range.count;
	}
	return runs;
}
