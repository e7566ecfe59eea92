/** An SAE's parameters on the device, with the optimiser's state beside them when they are trained. */
import type { Gpu } from "../../kernels/gpu.ts";
import { type Layout, padRows, unpadRows } from "../../kernels/layout.ts";

/**
 * `W_enc` and `W_dec` [d_sae, d_in] in shards, `b_enc` [d_sae], `b_dec` [d_in], all float32. With `moments`, Adam's
 * two averages of each, and `since`: tokens since each latent last fired.
 */
export class ParameterStore {
	readonly W_enc: readonly GPUBuffer[];
	readonly W_dec: readonly GPUBuffer[];
	readonly b_enc: GPUBuffer;
	readonly b_dec: GPUBuffer;
	readonly since: GPUBuffer;
	/** Two arrays per parameter: per row for matrices, one after the other for vectors. */
	readonly moments: {
		readonly W_enc: readonly GPUBuffer[];
		readonly W_dec: readonly GPUBuffer[];
		readonly b_enc: GPUBuffer;
		readonly b_dec: GPUBuffer;
	};
	readonly #gpu: Gpu;
	readonly #layout: Layout;

	constructor(gpu: Gpu, layout: Layout, options: { readonly moments: boolean }) {
		this.#gpu = gpu;
		this.#layout = layout;
		const { width, latents, shards } = layout;
		const copies = options.moments ? 2 : 0;
		const matrix = (label: string, perWeight: number) =>
			perWeight === 0 ? [] : shards.map(({ count }) => gpu.buffer(label, count * width * 4 * perWeight));
		this.W_enc = matrix("W_enc", 1);
		this.W_dec = matrix("W_dec", 1);
		this.b_enc = gpu.buffer("b_enc", latents * 4);
		this.b_dec = gpu.buffer("b_dec", width * 4);
		this.since = gpu.buffer("since", latents * 4);
		this.moments = {
			W_enc: matrix("W_enc moments", copies),
			W_dec: matrix("W_dec moments", copies),
			b_enc: gpu.buffer("b_enc moments", latents * 4 * copies),
			b_dec: gpu.buffer("b_dec moments", width * 4 * copies),
		};
	}

	/** Writes one array by its name, as {@link read} gave it. */
	write(name: string, data: Float32Array | Uint32Array): void {
		const { width, d_in, shards } = this.#layout;
		const place = this.#place(name);
		if (place.kind === "vector") {
			const padded =
				data instanceof Uint32Array ? new Uint32Array(place.padded) : new Float32Array(place.padded);
			padded.set(data);
			this.#gpu.write(place.buffer, padded, place.offset);
			return;
		}
		for (const [s, { start, count }] of shards.entries()) {
			const rows = (data as Float32Array).subarray(
				start * d_in * place.copies,
				(start + count) * d_in * place.copies,
			);
			const padded = padRows(rows, d_in, width, count * place.copies);
			this.#gpu.write(place.buffers[s]!, padded as Float32Array<ArrayBuffer>);
		}
	}

	/** Reads one array: a parameter, `moments.` and its name, or `since`. */
	async read(name: string): Promise<Float32Array | Uint32Array> {
		const { width, d_in, d_sae, shards } = this.#layout;
		const place = this.#place(name);
		if (place.kind === "vector") {
			const bytes = await this.#gpu.read(place.buffer, place.offset, place.padded * 4);
			return name === "since"
				? new Uint32Array(bytes, 0, place.length)
				: new Float32Array(bytes, 0, place.length);
		}
		const all = new Float32Array(d_sae * d_in * place.copies);
		for (const [s, { start, count }] of shards.entries()) {
			const rows = Math.min(count, d_sae - start) * place.copies;
			if (rows <= 0) continue;
			const bytes = await this.#gpu.read(place.buffers[s]!, 0, rows * width * 4);
			all.set(unpadRows(new Float32Array(bytes), d_in, width, rows), start * d_in * place.copies);
		}
		return all;
	}

	/** Frees the memory; reads and writes fail afterwards. */
	close(): void {
		const { W_enc, W_dec, b_enc, b_dec } = this.moments;
		const all = [
			this.W_enc,
			this.W_dec,
			this.b_enc,
			this.b_dec,
			this.since,
			W_enc,
			W_dec,
			b_enc,
			b_dec,
		].flat();
		for (const buffer of all) buffer.destroy();
	}

	#place(name: string) {
		const { width, latents, d_in, d_sae } = this.#layout;
		const vector = (buffer: GPUBuffer, length: number, padded: number, offset = 0) =>
			({ kind: "vector", buffer, length, padded, offset }) as const;
		const matrix = (buffers: readonly GPUBuffer[], copies: number) =>
			({ kind: "matrix", buffers, copies }) as const;
		switch (name) {
			case "W_enc":
				return matrix(this.W_enc, 1);
			case "W_dec":
				return matrix(this.W_dec, 1);
			case "b_enc":
				return vector(this.b_enc, d_sae, latents);
			case "b_dec":
				return vector(this.b_dec, d_in, width);
			case "since":
				return vector(this.since, d_sae, latents);
			case "moments.W_enc":
				return matrix(this.moments.W_enc, 2);
			case "moments.W_dec":
				return matrix(this.moments.W_dec, 2);
			case "moments.b_enc.mean":
				return vector(this.moments.b_enc, d_sae, latents);
			case "moments.b_enc.square":
				return vector(this.moments.b_enc, d_sae, latents, latents * 4);
			case "moments.b_dec.mean":
				return vector(this.moments.b_dec, d_in, width);
			case "moments.b_dec.square":
				return vector(this.moments.b_dec, d_in, width, width * 4);
			default:
				throw new Error(`no array named ${name}`);
		}
	}
}

/** Every array of a training state, in the order checkpoints hold them. */
export const TRAINING_ARRAYS = [
	"W_enc",
	"W_dec",
	"b_enc",
	"b_dec",
	"moments.W_enc",
	"moments.W_dec",
	"moments.b_enc.mean",
	"moments.b_enc.square",
	"moments.b_dec.mean",
	"moments.b_dec.square",
	"since",
] as const;
