/** An SAE's parameters on the device, with the optimiser's state beside them when they are trained. */
import type { Gpu } from "../../kernels/gpu.ts";
import { DEPTH, type Layout, padRows, roundUp, type Shard, TILE, unpadRows } from "../../kernels/layout.ts";
import type { Binding } from "../../kernels/program.ts";

/** A matrix, in shards. */
export interface Matrix {
	readonly columns: number;
	/** `columns` with padding. */
	readonly width: number;
	readonly weights: readonly GPUBuffer[];
	/** Adam's two averages, row by row; none unless the matrix is trained. */
	readonly moments: readonly GPUBuffer[];
	/** The running mean of the weights, when one is kept. */
	readonly average: readonly GPUBuffer[];
	/** Rows, and how they are cut. */
	readonly rows: number;
	readonly shards: readonly Shard[];
}

/** Numbers in a row, with Adam's averages behind each other. */
export interface Vector {
	readonly length: number;
	readonly padded: number;
	readonly weights: GPUBuffer;
	readonly moments: GPUBuffer;
	readonly average: GPUBuffer | undefined;
}

/** What a run keeps besides parameters; float32 unless `since`. */
export interface StateSizes {
	/** Numbers of the selection's thresholds: 1, d_sae or none. */
	readonly threshold: number;
	/** Whether how often each latent fires is tracked. */
	readonly density: boolean;
}

/** A matrix beside W_enc and W_dec, whole in one buffer. */
export interface DenseSize {
	readonly name: string;
	readonly rows: number;
	readonly columns: number;
}

/** Columns of such a matrix, with padding. */
export function denseWidth({ columns }: Pick<DenseSize, "columns">): number {
	return roundUp(columns, DEPTH);
}

export interface StoreOptions {
	/** Names of the [d_sae] arrays besides b_enc. */
	readonly vectors: readonly string[];
	/** Rows of numbers that formulas may name, but that are no parameters. */
	readonly derived: readonly string[];
	readonly dense?: readonly DenseSize[];
	readonly trained: boolean;
	/** Matrices that no optimiser changes, though the others are trained. */
	readonly fixed?: readonly string[];
	readonly averaged: boolean;
	readonly state: StateSizes;
}

/**
 * `W_enc` [d_sae, d_in] and `W_dec` [d_sae, d_out] in shards, [d_sae] vectors with `b_enc` first, `b_dec` [d_out], all
 * float32, and further matrices where an architecture has them. With `trained`, Adam's two averages of each, and
 * `since`: tokens since each latent last fired.
 */
export class ParameterStore {
	readonly W_enc: Matrix;
	readonly W_dec: Matrix;
	/** By name; rows and columns have padding of zeros, as products need it. */
	readonly dense: Readonly<Record<string, Matrix>>;
	/** [vectors, latents]: b_enc, the other [d_sae] parameters, and what is derived. */
	readonly vectors: Vector;
	readonly vectorNames: readonly string[];
	readonly b_dec: Vector;
	readonly since: GPUBuffer;
	readonly threshold: GPUBuffer;
	readonly density: GPUBuffer;
	/** Every array of a training state, in the order checkpoints hold them. */
	readonly arrays: readonly string[];
	readonly #gpu: Gpu;
	readonly #layout: Layout;
	readonly #parameters: readonly string[];
	readonly #state: StateSizes;

	constructor(gpu: Gpu, layout: Layout, options: StoreOptions) {
		this.#gpu = gpu;
		this.#layout = layout;
		this.#state = options.state;
		const { latents } = layout;
		const { trained, averaged, state, dense = [], fixed = [] } = options;
		const matrix = (
			name: string,
			columns: number,
			width: number,
			rows: number,
			shards: readonly Shard[],
		): Matrix => {
			const make = (label: string, copies: number) =>
				copies === 0 ? [] : shards.map(({ count }) => gpu.buffer(label, count * width * 4 * copies));
			return {
				columns,
				width,
				rows,
				shards,
				weights: make(name, 1),
				moments: make(`${name} moments`, trained && !fixed.includes(name) ? 2 : 0),
				average: make(`${name} average`, averaged ? 1 : 0),
			};
		};
		const vector = (name: string, length: number, padded: number, parameters = padded): Vector => ({
			length,
			padded,
			weights: gpu.buffer(name, padded * 4),
			moments: gpu.buffer(`${name} moments`, trained ? parameters * 8 : 0),
			average: averaged ? gpu.buffer(`${name} average`, parameters * 4) : undefined,
		});
		this.#parameters = ["b_enc", ...options.vectors];
		this.vectorNames = [...this.#parameters, ...options.derived];
		this.W_enc = matrix("W_enc", layout.d_in, layout.width, layout.keys, layout.keyShards);
		this.W_dec = matrix("W_dec", layout.d_out, layout.outWidth, layout.d_sae, layout.shards);
		this.dense = Object.fromEntries(
			dense.map((size) => {
				const shards = [{ start: 0, count: roundUp(size.rows, TILE) }];
				return [size.name, matrix(size.name, size.columns, denseWidth(size), size.rows, shards)];
			}),
		);
		const trainable = this.#parameters.length * latents;
		this.vectors = vector("latent vectors", trainable, this.vectorNames.length * latents, trainable);
		this.b_dec = vector("b_dec", layout.d_out, layout.outWidth);
		this.since = gpu.buffer("since", latents * 4);
		this.threshold = gpu.buffer("thresholds", state.threshold * 4);
		this.density = gpu.buffer("densities", state.density ? latents * 4 : 0);
		const matrices = ["W_enc", "W_dec", ...Object.keys(this.dense)];
		const named = ["W_enc", "W_dec", ...this.#parameters, "b_dec", ...Object.keys(this.dense)];
		this.arrays = [
			...named,
			...named
				.filter((name) => !fixed.includes(name))
				.flatMap((name) =>
					matrices.includes(name) ? [`moments.${name}`] : [`moments.${name}.mean`, `moments.${name}.square`],
				),
			...(averaged ? named.map((name) => `average.${name}`) : []),
			"since",
			...(state.threshold > 0 ? ["threshold"] : []),
			...(state.density ? ["density"] : []),
		];
	}

	/** The latent vectors' row of this name, [latents]. */
	row(name: string): Binding {
		const { latents } = this.#layout;
		return {
			buffer: this.vectors.weights,
			offset: this.vectorNames.indexOf(name) * latents * 4,
			size: latents * 4,
		};
	}

	/** Writes one array by its name, as {@link read} gave it. */
	write(name: string, data: Float32Array | Uint32Array): void {
		const place = this.#place(name);
		if (place.kind === "vector") {
			const padded =
				data instanceof Uint32Array ? new Uint32Array(place.padded) : new Float32Array(place.padded);
			padded.set(data);
			this.#gpu.write(place.buffer, padded, place.offset);
			return;
		}
		const { columns, width, shards } = place.matrix;
		for (const [s, { start, count }] of shards.entries()) {
			const from = start * columns * place.copies;
			const rows = (data as Float32Array).subarray(from, from + count * columns * place.copies);
			const padded = padRows(rows, columns, width, count * place.copies);
			this.#gpu.write(place.buffers[s]!, padded as Float32Array<ArrayBuffer>);
		}
	}

	/** Reads one array: a parameter, `moments.` and its name, `average.` and its name, or a state. */
	async read(name: string): Promise<Float32Array | Uint32Array> {
		const place = this.#place(name);
		if (place.kind === "vector") {
			const bytes = await this.#gpu.read(place.buffer, place.offset, place.padded * 4);
			return name === "since"
				? new Uint32Array(bytes, 0, place.length)
				: new Float32Array(bytes, 0, place.length);
		}
		const { columns, width, shards, rows: length } = place.matrix;
		const all = new Float32Array(length * columns * place.copies);
		for (const [s, { start, count }] of shards.entries()) {
			const rows = rowsOf({ start, count }, length) * place.copies;
			if (rows <= 0) continue;
			const bytes = await this.#gpu.read(place.buffers[s]!, 0, rows * width * 4);
			all.set(unpadRows(new Float32Array(bytes), columns, width, rows), start * columns * place.copies);
		}
		return all;
	}

	/** Frees the memory; reads and writes fail afterwards. */
	close(): void {
		const { W_enc, W_dec, vectors, b_dec, since, threshold, density } = this;
		const matrices = [W_enc, W_dec, ...Object.values(this.dense)].flatMap((m) => [
			...m.weights,
			...m.moments,
			...m.average,
		]);
		const rows = [vectors, b_dec].flatMap((v) => [v.weights, v.moments, ...(v.average ? [v.average] : [])]);
		for (const buffer of [...matrices, ...rows, since, threshold, density]) buffer.destroy();
	}

	#place(name: string) {
		const { latents, d_sae } = this.#layout;
		const vector = (buffer: GPUBuffer, length: number, padded: number, offset = 0) =>
			({ kind: "vector", buffer, length, padded, offset: offset * 4 }) as const;
		const [, prefix = "", base = "", part = ""] =
			/^(?:(moments|average)\.)?(\w+?)(?:\.(mean|square))?$/.exec(name) ?? [];
		const matrix = base === "W_enc" || base === "W_dec" ? this[base] : this.dense[base];
		if (matrix) {
			const buffers = prefix === "" ? matrix.weights : prefix === "moments" ? matrix.moments : matrix.average;
			return { kind: "matrix", matrix, buffers, copies: prefix === "moments" ? 2 : 1 } as const;
		}
		if (base === "since") return vector(this.since, d_sae, latents);
		if (base === "density") return vector(this.density, d_sae, latents);
		// A finished SAE has its thresholds among the vectors.
		if (base === "threshold" && this.#state.threshold > 0) {
			return vector(this.threshold, this.#state.threshold, this.#state.threshold);
		}
		const row = this.#parameters.indexOf(base);
		if (base !== "b_dec" && row < 0) throw new Error(`no array named ${name}`);
		const owner = base === "b_dec" ? this.b_dec : this.vectors;
		const length = base === "b_dec" ? owner.length : base === "b_enc" ? this.#layout.keys : d_sae;
		const padded = base === "b_dec" ? owner.padded : latents;
		const first = base === "b_dec" ? 0 : row * latents;
		if (prefix === "moments") {
			const squares = base === "b_dec" ? owner.padded : this.#parameters.length * latents;
			return vector(owner.moments, length, padded, first + (part === "square" ? squares : 0));
		}
		return vector(prefix === "average" ? owner.average! : owner.weights, length, padded, first);
	}
}

/** Rows of a shard that are no padding. */
export function rowsOf({ start, count }: Shard, rows: number): number {
	return Math.max(0, Math.min(count, rows - start));
}
