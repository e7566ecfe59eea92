/** A finished SAE on the GPU: rows → sparse codes, sparse codes → rows. */
import { decodeBindings, decodeRows } from "../kernels/decode.ts";
import type { Gpu } from "../kernels/gpu.ts";
import { type Layout, planLayout, roundUp, unpadRows } from "../kernels/layout.ts";
import { prepareRows, type RowFormat } from "../kernels/prepare.ts";
import { type Dispatch, dispatch, submit } from "../kernels/program.ts";
import { MAX_K, SELECT_THREADS, selectTopK } from "../kernels/topk.ts";
import { packStep, STEP_PARAMS_BYTES } from "../kernels/wgsl.ts";
import type { InferenceSpec } from "./architecture.ts";
import { EXIT, SaeError } from "./errors.ts";
import { encoderDispatches } from "./gpu/encoder.ts";
import { ParameterStore } from "./gpu/parameters.ts";
import type { Codes, SaeModel } from "./sae.ts";
import { parametersOf } from "./train/initialise.ts";
import { largest } from "./train/work.ts";

export interface SaeRuntime {
	readonly d_in: number;
	readonly d_sae: number;
	/** Codes of `rows` rows: float32 values, or float16 as its bits, row-major [rows, d_in]. */
	encode(data: Float32Array | Uint16Array, rows: number): Promise<Codes>;
	/** Reconstructions [codes.rows, d_in]. */
	decode(codes: Codes): Promise<Float32Array>;
	/** Frees the SAE's memory on the device; the device stays open. */
	close(): void;
}

/** Rows that the device works on at a time, unless asked otherwise. */
const BATCH = { gpu: 8192, software: 1024 };

/**
 * Puts an SAE on the device. Throws SaeError for what can't be run (an input normalisation that needs the row's own
 * statistics, k over the limit) and GpuError where the device has too little memory.
 */
export async function openRuntime(
	gpu: Gpu,
	model: SaeModel,
	spec: InferenceSpec,
	maxRows = gpu.info.software ? BATCH.software : BATCH.gpu,
): Promise<SaeRuntime> {
	if (model.normalize_activations !== "none") {
		throw new SaeError(
			`this SAE normalises each row (normalize_activations: ${model.normalize_activations}), which can't be run yet: fold it or use "none"`,
		);
	}
	const k = Math.round(largest(spec.select.k));
	if (k < 1 || k > MAX_K) throw new SaeError(`k must be between 1 and ${MAX_K}, got ${k}`, EXIT.usage);
	return gpu.checked(
		`an SAE of d_sae ${model.d_sae} at d_in ${model.d_in}`,
		() => new GpuSae(gpu, model, Math.min(k, model.d_sae), maxRows),
	);
}

class GpuSae implements SaeRuntime {
	readonly d_in: number;
	readonly d_sae: number;
	readonly #gpu: Gpu;
	readonly #layout: Layout;
	readonly #k: number;
	readonly #parameters: ParameterStore;
	readonly #step: GPUBuffer;
	readonly #raw: GPUBuffer;
	readonly #codes: { index: GPUBuffer; value: GPUBuffer; span: GPUBuffer };
	readonly #out: GPUBuffer;
	readonly #encoders: Record<RowFormat, readonly Dispatch[]>;
	readonly #allocated: GPUBuffer[] = [];

	constructor(gpu: Gpu, model: SaeModel, k: number, maxRows: number) {
		const { d_in, d_sae } = model;
		this.#gpu = gpu;
		this.d_in = d_in;
		this.d_sae = d_sae;
		this.#k = k;
		this.#layout = planLayout({ d_in, d_sae, rows: maxRows }, gpu.maxBinding);
		const { width, paddedRows } = this.#layout;
		this.#parameters = new ParameterStore(gpu, this.#layout, { moments: false });
		for (const [name, data] of Object.entries(parametersOf(model, 1))) this.#parameters.write(name, data);
		const floats = (label: string, count: number) => {
			const buffer = gpu.buffer(label, count * 4);
			this.#allocated.push(buffer);
			return buffer;
		};
		this.#step = gpu.uniform("step", STEP_PARAMS_BYTES);
		this.#raw = floats("arriving rows", roundUp(maxRows * d_in, 4));
		this.#codes = {
			index: floats("code indices", maxRows * k),
			value: floats("code values", maxRows * k),
			span: floats("code spans", maxRows * 2),
		};
		this.#out = floats("reconstructions", maxRows * width);
		const x = floats("rows", paddedRows * width);
		const centre = model.apply_b_dec_to_input;
		const xc = centre ? floats("centred rows", paddedRows * width) : x;
		const encode = encoderDispatches(
			gpu,
			this.#layout,
			{ xc, parameters: this.#parameters },
			floats,
			(chunk) => [
				dispatch(
					gpu,
					"select",
					selectTopK({ maxK: k, threads: gpu.threads(SELECT_THREADS), scan: "maxima" }),
					[
						this.#step,
						this.#constants(chunk.firstRow, chunk.chunkRows, 0, 0, d_sae, this.#layout.latents, k, 0),
						chunk.pre,
						chunk.maxima,
						this.#codes.index,
						this.#codes.value,
						this.#codes.span,
					],
					Math.min(chunk.chunkRows, maxRows - chunk.firstRow),
				),
			],
		);
		const prepare = (format: RowFormat) =>
			dispatch(
				gpu,
				"prepare rows",
				prepareRows({ d_in, width, format, centre }),
				[this.#step, this.#raw, x, ...(centre ? [this.#parameters.b_dec, xc] : [])],
				maxRows,
			);
		this.#encoders = { float32: [prepare("float32"), ...encode], float16: [prepare("float16"), ...encode] };
	}

	#constants(...words: number[]): GPUBuffer {
		const uniform = this.#gpu.uniform("constants", words.length * 4);
		this.#gpu.write(uniform, new Uint32Array(words));
		return uniform;
	}

	async encode(data: Float32Array | Uint16Array, rows: number): Promise<Codes> {
		const most = this.#layout.rows;
		const parts: Codes[] = [];
		for (let first = 0; first < rows; first += most) {
			const count = Math.min(most, rows - first);
			parts.push(
				await this.#encodeSome(data.subarray(first * this.d_in, (first + count) * this.d_in), count),
			);
		}
		return parts.length === 1 ? parts[0]! : joinCodes(parts);
	}

	async #encodeSome(data: Float32Array | Uint16Array, rows: number): Promise<Codes> {
		const gpu = this.#gpu;
		gpu.write(this.#step, packStep({ rows, input_scale: 1, k: [this.#k] }));
		gpu.writePadded(this.#raw, data);
		submit(gpu, this.#encoders[data instanceof Float32Array ? "float32" : "float16"]);
		const { index, value, span } = this.#codes;
		const entries = rows * this.#k * 4;
		const [spans, indices, values] = await Promise.all([
			gpu.read(span, 0, rows * 8).then((bytes) => new Uint32Array(bytes)),
			gpu.read(index, 0, entries).then((bytes) => new Uint32Array(bytes)),
			gpu.read(value, 0, entries).then((bytes) => new Float32Array(bytes)),
		]);
		return packCodes(rows, spans, indices, values);
	}

	async decode(codes: Codes): Promise<Float32Array> {
		const out = new Float32Array(codes.rows * this.d_in);
		const most = this.#layout.rows;
		for (let first = 0; first < codes.rows; first += most) {
			const count = Math.min(most, codes.rows - first);
			out.set(await this.#decodeSome(codes, first, count), first * this.d_in);
		}
		return out;
	}

	async #decodeSome(codes: Codes, first: number, rows: number): Promise<Float32Array> {
		const gpu = this.#gpu;
		const { width, shards } = this.#layout;
		const begin = codes.offsets[first]!;
		const end = codes.offsets[first + rows]!;
		const span = new Uint32Array(rows * 2);
		for (let row = 0; row < rows; row++) {
			span[2 * row] = codes.offsets[first + row]! - begin;
			span[2 * row + 1] = codes.offsets[first + row + 1]! - begin;
		}
		// Codes from elsewhere can be denser than k, so they get buffers of their own size.
		const buffers = {
			index: gpu.buffer("code indices", (end - begin) * 4),
			value: gpu.buffer("code values", (end - begin) * 4),
			span: gpu.buffer("code spans", span.byteLength),
		};
		gpu.writePadded(buffers.index, codes.index.subarray(begin, end));
		gpu.writePadded(buffers.value, codes.value.subarray(begin, end));
		gpu.write(buffers.span, span);
		const uniforms: GPUBuffer[] = [];
		const dispatches = shards.map(({ start, count }, s) => {
			const shape = {
				width,
				threads: gpu.rowThreads(width),
				start: s === 0 ? "bias" : "partial",
				last: false,
				deadOnly: false,
			} as const;
			const part = this.#constants(rows, 0, start, start + count);
			uniforms.push(part);
			return dispatch(
				gpu,
				"decode",
				decodeRows(shape),
				[
					part,
					this.#parameters.W_dec[s]!,
					buffers.index,
					buffers.value,
					buffers.span,
					this.#out,
					...decodeBindings(shape).map(() => this.#parameters.b_dec),
				],
				rows,
			);
		});
		submit(gpu, dispatches);
		const bytes = await gpu.read(this.#out, 0, rows * width * 4);
		for (const buffer of [...Object.values(buffers), ...uniforms]) buffer.destroy();
		return unpadRows(new Float32Array(bytes), this.d_in, width, rows);
	}

	close(): void {
		for (const buffer of this.#allocated) buffer.destroy();
		this.#parameters.close();
	}
}

/** Codes from rows that each have room for k entries: the room that a row left over goes. */
function packCodes(rows: number, spans: Uint32Array, indices: Uint32Array, values: Float32Array): Codes {
	const offsets = new Uint32Array(rows + 1);
	for (let row = 0; row < rows; row++) {
		offsets[row + 1] = offsets[row]! + spans[2 * row + 1]! - spans[2 * row]!;
	}
	const index = new Uint32Array(offsets[rows]!);
	const value = new Float32Array(offsets[rows]!);
	for (let row = 0; row < rows; row++) {
		index.set(indices.subarray(spans[2 * row]!, spans[2 * row + 1]!), offsets[row]!);
		value.set(values.subarray(spans[2 * row]!, spans[2 * row + 1]!), offsets[row]!);
	}
	return { rows, offsets, index, value };
}

function joinCodes(parts: readonly Codes[]): Codes {
	const rows = parts.reduce((sum, part) => sum + part.rows, 0);
	const entries = parts.reduce((sum, part) => sum + part.index.length, 0);
	const joined = {
		rows,
		offsets: new Uint32Array(rows + 1),
		index: new Uint32Array(entries),
		value: new Float32Array(entries),
	};
	let row = 0;
	let entry = 0;
	for (const part of parts) {
		for (let r = 1; r <= part.rows; r++) joined.offsets[row + r] = entry + part.offsets[r]!;
		joined.index.set(part.index, entry);
		joined.value.set(part.value, entry);
		row += part.rows;
		entry += part.index.length;
	}
	return joined;
}
