/** A finished SAE on the GPU: rows → sparse codes, sparse codes → rows. */
import { activateCodes, ROW_SUMS } from "../kernels/activate.ts";
import { decodeBindings, decodeRows } from "../kernels/decode.ts";
import type { Gpu } from "../kernels/gpu.ts";
import { type Layout, planLayout, roundUp, unpadRows } from "../kernels/layout.ts";
import { prepareRows, type RowFormat, type RowNormalisation, restoreRows } from "../kernels/prepare.ts";
import { type Dispatch, dispatch, submit } from "../kernels/program.ts";
import { packStep, STEP_PARAMS_BYTES } from "../kernels/wgsl.ts";
import { type InferenceSpec, RELU } from "./architecture.ts";
import { EXIT, SaeError } from "./errors.ts";
import { encoderChunks } from "./gpu/encoder.ts";
import { ParameterStore } from "./gpu/parameters.ts";
import { productDispatch } from "./gpu/product.ts";
import {
	FIRST_ROOM,
	GROWTH,
	isBatchLevel,
	maximaOf,
	reranks,
	roomOf,
	selectDispatches,
} from "./gpu/select.ts";
import { transposed } from "./matrix.ts";
import { type Codes, needsInputs, type SaeModel } from "./sae.ts";
import { largest } from "./schedule.ts";

export interface SaeRuntime {
	readonly d_in: number;
	/** Width of reconstructions. */
	readonly d_out: number;
	readonly d_sae: number;
	/** Codes of `rows` rows: float32 values, or float16 as its bits, row-major [rows, d_in]. */
	encode(data: Float32Array | Uint16Array, rows: number): Promise<Codes>;
	/**
	 * Reconstructions [codes.rows, d_out]. `inputs`: the rows that the codes are of, as for `encode`; an SAE with a skip
	 * connection, or that normalises every row by itself, needs them.
	 */
	decode(codes: Codes, inputs?: Float32Array | Uint16Array): Promise<Float32Array>;
	/** Frees the SAE's memory on the device; the device stays open. */
	close(): void;
}

/** Rows that the device works on at a time, unless asked otherwise. */
const BATCH = { gpu: 8192, software: 1024 };

/**
 * Puts an SAE on the device. Throws SaeError for what can't be run (an input scale that nobody knows, a k that is none)
 * and GpuError where the device has too little memory.
 */
export async function openRuntime(
	gpu: Gpu,
	model: SaeModel,
	spec: InferenceSpec,
	maxRows = gpu.info.software ? BATCH.software : BATCH.gpu,
): Promise<SaeRuntime> {
	if (model.normalize_activations === "expected_average_only_in") {
		throw new SaeError(
			"this SAE was trained on rows times one number, which its file lacks (normalize_activations: expected_average_only_in); sae import --input-scale folds it in",
		);
	}
	if (model.normalize_activations !== "none" && model.tensors.W_skip) {
		throw new SaeError("an SAE that normalises its rows and has a skip connection can't be run");
	}
	if (isBatchLevel(spec.select)) {
		throw new SaeError(`a row is encoded by itself, which the selection ${spec.select.kind} can't do`);
	}
	if ("k" in spec.select && Math.round(largest(spec.select.k)) < 1) {
		throw new SaeError(`k must be at least 1, got ${largest(spec.select.k)}`, EXIT.usage);
	}
	return gpu.checked(
		`an SAE of d_sae ${model.d_sae} at d_in ${model.d_in}`,
		() => new GpuSae(gpu, model, spec, maxRows),
	);
}

/** Where codes are written, and the programs that write them. */
interface Encoder {
	readonly capacity: number;
	readonly index: GPUBuffer;
	readonly value: GPUBuffer;
	readonly span: GPUBuffer;
	/** Where entries end, at `end`, for selections of any number of codes. */
	readonly carry: GPUBuffer;
	readonly end: number;
	readonly programs: Record<RowFormat, readonly Dispatch[]>;
	readonly allocated: readonly GPUBuffer[];
}

class GpuSae implements SaeRuntime {
	readonly d_in: number;
	readonly d_out: number;
	readonly d_sae: number;
	readonly #gpu: Gpu;
	readonly #layout: Layout;
	readonly #model: SaeModel;
	readonly #spec: InferenceSpec;
	readonly #k: number;
	/** Room for codes of every row; 0: any number. */
	readonly #room: number;
	readonly #parameters: ParameterStore;
	readonly #step: GPUBuffer;
	readonly #raw: GPUBuffer;
	readonly #out: GPUBuffer;
	/** What a skip connection adds to reconstructions, from arrived rows of either type. */
	readonly #skip: Record<RowFormat, readonly Dispatch[]> | undefined;
	readonly #skipInput: GPUBuffer | undefined;
	readonly #normalise: RowNormalisation | undefined;
	/** What takes each arrived row back to what it was, where rows are normalised. */
	readonly #restores: GPUBuffer | undefined;
	/** Reconstructions into the units of those rows. */
	readonly #restore: Dispatch | undefined;
	#encoder: Encoder;
	/** The last of the calls that wait for each other. */
	#last: Promise<unknown> = Promise.resolve();

	constructor(gpu: Gpu, model: SaeModel, spec: InferenceSpec, maxRows: number) {
		const { d_in, d_out = d_in, d_sae } = model;
		this.#gpu = gpu;
		this.#model = model;
		this.#spec = spec;
		this.d_in = d_in;
		this.d_out = d_out;
		this.d_sae = d_sae;
		this.#k = "k" in spec.select ? Math.min(d_sae, Math.round(largest(spec.select.k))) : 0;
		const select = "k" in spec.select ? { ...spec.select, k: this.#k } : spec.select;
		this.#spec = { ...spec, select };
		this.#room = roomOf(select, undefined);
		const keys = model.tensors.W_enc!.data.length / d_in;
		this.#layout = planLayout({ d_in, d_out, d_sae, keys, rows: maxRows }, gpu.maxBinding);
		this.#parameters = loadParameters(gpu, this.#layout, model);
		this.#step = gpu.uniform("step", STEP_PARAMS_BYTES);
		this.#raw = gpu.buffer("arriving rows", roundUp(maxRows * d_in, 4) * 4);
		const { paddedRows, width, outWidth } = this.#layout;
		const skips = model.tensors.W_skip !== undefined;
		this.#out = gpu.buffer("reconstructions", (skips ? paddedRows : maxRows) * outWidth * 4);
		if (skips) {
			this.#skipInput = gpu.buffer("rows", paddedRows * width * 4);
			this.#skip = this.#buildSkip(this.#skipInput);
		}
		const { normalize_activations: normalise } = model;
		if (normalise === "layer_norm" || normalise === "constant_norm_rescale") {
			this.#normalise = normalise;
			this.#restores = gpu.buffer("row statistics", maxRows * 8);
			this.#restore = dispatch(
				gpu,
				"restore rows",
				restoreRows({ d_out, width: outWidth }),
				[this.#step, this.#restores, this.#out],
				maxRows,
			);
		}
		const most = Math.min(d_sae, this.#room || FIRST_ROOM);
		this.#encoder = this.#buildEncoder(maxRows * most);
	}

	#buildEncoder(capacity: number): Encoder {
		const gpu = this.#gpu;
		const layout = this.#layout;
		const { rows, width, paddedRows } = layout;
		const { select, activation = RELU } = this.#spec;
		const allocated: GPUBuffer[] = [];
		const floats = (label: string, count: number) => {
			const buffer = gpu.buffer(label, count * 4);
			allocated.push(buffer);
			return buffer;
		};
		const constants = (...words: number[]) => {
			const uniform = gpu.constants(...words);
			allocated.push(uniform);
			return uniform;
		};
		const codes = {
			index: floats("code indices", capacity),
			value: floats("code values", capacity),
			span: floats("code spans", rows * 2),
			carry: floats("carry", rows + 1),
		};
		const activated = activation.value !== "z";
		const z = activated ? floats("pre-activations of codes", capacity) : codes.value;
		const x = floats("rows", paddedRows * width);
		const centre = this.#model.apply_b_dec_to_input;
		const xc = centre ? floats("centred rows", paddedRows * width) : x;
		const names = { vectors: this.#parameters.vectorNames, scalars: [] };
		const vectors = this.#parameters.vectors.weights;
		let slots = 0;
		const chunks = encoderChunks(gpu, layout, {
			input: xc,
			parameters: this.#parameters,
			maximaOf: maximaOf(select),
			keep: false,
			reranked: reranks({ select, room: this.#room }),
			floats,
			constants,
		});
		const selection = selectDispatches(
			{
				gpu,
				layout,
				rows,
				names,
				buffers: { ...codes, step: this.#step, vectors },
				limit: capacity,
				nextSlot: () => slots++,
				constants,
				floats,
			},
			{
				name: "codes",
				number: 0,
				select,
				deadOnly: false,
				keep: activation.keep,
				firstBlock: 0,
				parts: 1,
				entry: 0,
				room: this.#room,
			},
			z,
			chunks,
		);
		const encode = chunks.flatMap((chunk) => [...chunk.product, ...selection.chunk(chunk)]);
		if (activated) {
			const sums = floats("row sums", rows * ROW_SUMS);
			const code = activateCodes({ threads: gpu.threads(64), names, value: activation.value, sums: [] });
			const part = constants(rows, 0, layout.latents, 0);
			const bindings = [this.#step, part, codes.index, codes.span, z, vectors, codes.value, sums];
			encode.push(dispatch(gpu, "activate", code, bindings, rows));
		}
		const prepare = (format: RowFormat) => this.#prepare(format, x, centre ? xc : undefined);
		return {
			...codes,
			capacity,
			end: slots,
			programs: { float32: [prepare("float32"), ...encode], float16: [prepare("float16"), ...encode] },
			allocated,
		};
	}

	/** Arrived rows into `x`, and without b_dec into `xc`. */
	#prepare(format: RowFormat, x: GPUBuffer, xc: GPUBuffer | undefined): Dispatch {
		const { rows, d_in, width } = this.#layout;
		const centre = xc !== undefined;
		return dispatch(
			this.#gpu,
			"prepare rows",
			prepareRows({
				d_in,
				width,
				format,
				centre,
				scale: "input_scale",
				rowScales: false,
				columnScales: false,
				...(this.#normalise ? { normalise: this.#normalise } : {}),
			}),
			[
				this.#step,
				this.#raw,
				x,
				...(centre ? [this.#parameters.b_dec.weights, xc] : []),
				...(this.#restores ? [this.#restores] : []),
			],
			rows,
		);
	}

	#buildSkip(x: GPUBuffer): Record<RowFormat, readonly Dispatch[]> {
		const { paddedRows, width, outWidth } = this.#layout;
		const product = productDispatch(
			this.#gpu,
			"skip connection",
			{
				rows: paddedRows,
				columns: outWidth,
				inner: width,
				a: x,
				b: this.#parameters.dense.W_skip!.weights[0]!,
				out: this.#out,
				use: "add",
			},
			(...words) => this.#gpu.constants(...words),
		);
		return {
			float32: [this.#prepare("float32", x, undefined), product],
			float16: [this.#prepare("float16", x, undefined), product],
		};
	}

	async encode(data: Float32Array | Uint16Array, rows: number): Promise<Codes> {
		const most = this.#layout.rows;
		const parts: Codes[] = [];
		for (let first = 0; first < rows; first += most) {
			const count = Math.min(most, rows - first);
			const some = data.subarray(first * this.d_in, (first + count) * this.d_in);
			parts.push(await this.#inTurn(() => this.#encodeSome(some, count)));
		}
		return parts.length === 1 ? parts[0]! : joinCodes(parts);
	}

	/**
	 * Codes of any number are counted, and may be written again into more room, before they can be read: until then no
	 * other call may bring its rows. All else is submitted at once, and the device keeps it in order.
	 */
	#inTurn<T>(work: () => Promise<T>): Promise<T> {
		if (this.#room > 0) return work();
		const turn = this.#last.then(work);
		this.#last = turn.catch(() => {});
		return turn;
	}

	/** Returns the rows' type. */
	#upload(data: Float32Array | Uint16Array, rows: number): RowFormat {
		const gpu = this.#gpu;
		gpu.check();
		gpu.write(this.#step, packStep({ rows, input_scale: 1, k: [this.#k] }));
		gpu.writePadded(this.#raw, data);
		return data instanceof Float32Array ? "float32" : "float16";
	}

	async #encodeSome(data: Float32Array | Uint16Array, rows: number): Promise<Codes> {
		const gpu = this.#gpu;
		const format = this.#upload(data, rows);
		submit(gpu, this.#encoder.programs[format]);
		let entries = rows * this.#room;
		if (this.#room === 0) {
			entries = await this.#written();
			if (entries > this.#encoder.capacity) {
				const capacity = Math.min(this.#layout.rows * this.d_sae, Math.ceil(entries * GROWTH));
				const bigger = await gpu.checked(`${entries} codes of ${rows} rows`, () =>
					this.#buildEncoder(capacity),
				);
				for (const buffer of this.#encoder.allocated) buffer.destroy();
				this.#encoder = bigger;
				submit(gpu, this.#encoder.programs[format]);
			}
		}
		const { index, value, span } = this.#encoder;
		const [spans, indices, values] = await Promise.all([
			gpu.read(span, 0, rows * 8).then((bytes) => new Uint32Array(bytes)),
			gpu.read(index, 0, entries * 4).then((bytes) => new Uint32Array(bytes)),
			gpu.read(value, 0, entries * 4).then((bytes) => new Float32Array(bytes)),
		]);
		return packCodes(rows, spans, indices, values);
	}

	/** Entries that the last program's codes take. */
	async #written(): Promise<number> {
		const { carry, end } = this.#encoder;
		return new Uint32Array(await this.#gpu.read(carry, end * 4, 4))[0]!;
	}

	async decode(codes: Codes, inputs?: Float32Array | Uint16Array): Promise<Float32Array> {
		if (needsInputs(this.#model) && inputs?.length !== codes.rows * this.d_in) {
			const why = this.#skip ? "has a skip connection (W_skip)" : "normalises every row by its own numbers";
			throw new SaeError(
				inputs
					? `decoding ${codes.rows} rows of codes needs ${codes.rows} input rows of ${this.d_in} values, not ${inputs.length} values`
					: `this SAE ${why}, so its reconstructions can't be made of codes alone: decode them with their inputs`,
			);
		}
		const out = new Float32Array(codes.rows * this.d_out);
		const most = this.#layout.rows;
		for (let first = 0; first < codes.rows; first += most) {
			const count = Math.min(most, codes.rows - first);
			const rows = inputs?.subarray(first * this.d_in, (first + count) * this.d_in);
			const decoded = this.#inTurn(() => this.#decodeSome(codes, first, count, rows));
			out.set(await decoded, first * this.d_out);
		}
		return out;
	}

	async #decodeSome(
		codes: Codes,
		first: number,
		rows: number,
		inputs: Float32Array | Uint16Array | undefined,
	): Promise<Float32Array> {
		const gpu = this.#gpu;
		const { outWidth: width, shards } = this.#layout;
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
			const part = gpu.constants(rows, 0, start, start + count, 0);
			uniforms.push(part);
			return dispatch(
				gpu,
				"decode",
				decodeRows(shape),
				[
					part,
					this.#parameters.W_dec.weights[s]!,
					buffers.index,
					buffers.value,
					buffers.span,
					this.#out,
					...decodeBindings(shape).map(() => this.#parameters.b_dec.weights),
				],
				rows,
			);
		});
		const format = inputs && needsInputs(this.#model) ? this.#upload(inputs, rows) : undefined;
		const before: Dispatch[] = [];
		const after: Dispatch[] = [];
		if (format && this.#skip) after.push(...this.#skip[format]);
		if (format && this.#restore) {
			// Preparing rows leaves their statistics; what else it writes is written anew before it is read.
			before.push(this.#encoder.programs[format][0]!);
			after.push(this.#restore);
		}
		submit(gpu, [...before, ...dispatches, ...after]);
		const bytes = await gpu.read(this.#out, 0, rows * width * 4);
		for (const buffer of [...Object.values(buffers), ...uniforms]) buffer.destroy();
		return unpadRows(new Float32Array(bytes), this.d_out, width, rows);
	}

	close(): void {
		for (const buffer of [...this.#encoder.allocated, this.#raw, this.#out]) buffer.destroy();
		this.#skipInput?.destroy();
		this.#restores?.destroy();
		this.#parameters.close();
	}
}

/** The model's tensors on the device; those of shape [d_sae] are there for formulas. */
function loadParameters(gpu: Gpu, layout: Layout, { tensors }: SaeModel): ParameterStore {
	const { d_in, d_sae, keys } = layout;
	const vectors = Object.keys(tensors).filter(
		(name) =>
			name !== "b_enc" &&
			tensors[name]!.shape.length === 1 &&
			tensors[name]!.shape[0] === d_sae &&
			name !== "b_dec",
	);
	const parameters = new ParameterStore(gpu, layout, {
		vectors,
		derived: [],
		dense: tensors.W_skip ? [{ name: "W_skip", rows: layout.d_out, columns: d_in }] : [],
		trained: false,
		averaged: false,
		state: { threshold: 0, density: false },
	});
	parameters.write("W_enc", transposed(tensors.W_enc!.data, d_in, keys));
	for (const name of ["W_dec", "b_dec", "b_enc", "W_skip", ...vectors]) {
		const tensor = tensors[name];
		if (tensor) parameters.write(name, tensor.data);
	}
	return parameters;
}

/** Codes of rows that each have room of their own: the room that a row left over goes. */
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
