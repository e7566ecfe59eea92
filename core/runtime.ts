/** A finished SAE on the GPU: rows → sparse codes, sparse codes → rows. */
import { activateCodes, ROW_SUMS } from "../kernels/activate.ts";
import { decodeBindings, decodeRows } from "../kernels/decode.ts";
import type { Gpu } from "../kernels/gpu.ts";
import { type Layout, planLayout, roundUp, unpadRows } from "../kernels/layout.ts";
import { prepareRows, type RowFormat, type RowNormalisation, restoreRows } from "../kernels/prepare.ts";
import { type Dispatch, dispatch, grid, submit } from "../kernels/program.ts";
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
	/**
	 * Codes of `rows` rows: float32 values, or float16 as its bits, row-major [rows, d_in]. Calls may overlap: the device
	 * goes on with the next while the last is read back.
	 *
	 * @param taken called as soon as `data` is no longer needed.
	 */
	encode(data: Float32Array | Uint16Array, rows: number, taken?: () => void): Promise<Codes>;
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

/** Encoding calls that the device works on at a time: one is computed while the one before it is read back. */
const IN_FLIGHT = 2;

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
	/** By buffer of arrived rows. */
	readonly prepare: readonly Record<RowFormat, Dispatch>[];
	readonly encode: readonly Dispatch[];
	readonly allocated: readonly GPUBuffer[];
}

/** Where codes from elsewhere are read from, and the programs that read them. */
interface Decoder {
	readonly capacity: number;
	readonly index: GPUBuffer;
	readonly value: GPUBuffer;
	readonly span: GPUBuffer;
	/** By shard: which rows and latents it is about. */
	readonly parts: readonly GPUBuffer[];
	readonly decode: readonly Dispatch[];
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
	/** Arrived rows, of every call in flight; then those that reconstructions need. */
	readonly #raw: readonly GPUBuffer[];
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
	#decoder: Decoder | undefined;
	#calls = 0;
	/** By buffer of arrived rows: the last call that uses it, until it ends. */
	readonly #turns: (Promise<unknown> | undefined)[] = [];
	/** The last of the calls that make more room, one after the other. */
	#growing: Promise<unknown> = Promise.resolve();
	/** Most codes per row that a call has had. */
	#densest = 0;
	#closed = false;

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
		this.#raw = Array.from({ length: needsInputs(model) ? IN_FLIGHT + 1 : IN_FLIGHT }, () =>
			gpu.buffer("arriving rows", roundUp(maxRows * d_in, 4) * 4),
		);
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
			fixed: true,
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
		const prepare = this.#raw.map((raw) => this.#prepare(raw, x, centre ? xc : undefined));
		return { ...codes, capacity, end: slots, prepare, encode, allocated };
	}

	/** Arrived rows of either type into `x`, and without b_dec into `xc`. */
	#prepare(raw: GPUBuffer, x: GPUBuffer, xc: GPUBuffer | undefined): Record<RowFormat, Dispatch> {
		const prepare = (format: RowFormat) => this.#prepareAs(format, raw, x, xc);
		return { float32: prepare("float32"), float16: prepare("float16") };
	}

	#prepareAs(format: RowFormat, raw: GPUBuffer, x: GPUBuffer, xc: GPUBuffer | undefined): Dispatch {
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
				raw,
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
		const { float32, float16 } = this.#prepare(this.#raw[IN_FLIGHT]!, x, undefined);
		return { float32: [float32, product], float16: [float16, product] };
	}

	async encode(data: Float32Array | Uint16Array, rows: number, taken = () => {}): Promise<Codes> {
		const most = this.#layout.rows;
		const parts: Promise<Codes>[] = [];
		let waiting = Math.ceil(rows / most);
		const uploaded = () => {
			if (--waiting === 0) taken();
		};
		for (let first = 0; first < rows; first += most) {
			const count = Math.min(most, rows - first);
			const some = data.subarray(first * this.d_in, (first + count) * this.d_in);
			parts.push(this.#inTurn((turn) => this.#encodeSome(turn, some, count, uploaded)));
		}
		return parts.length === 1 ? parts[0]! : joinCodes(await Promise.all(parts));
	}

	/** Calls take turns with the buffers of arrived rows; the first ones begin at once. */
	#inTurn<T>(work: (turn: number) => Promise<T>): Promise<T> {
		const turn = this.#calls++ % IN_FLIGHT;
		const before = this.#turns[turn];
		const result = before ? before.then(() => work(turn)) : work(turn);
		const end = () => {
			if (this.#turns[turn] === over) this.#turns[turn] = undefined;
		};
		const over: Promise<void> = result.then(end, end);
		this.#turns[turn] = over;
		return result;
	}

	/** Returns the rows' type. */
	#upload(turn: number, data: Float32Array | Uint16Array): RowFormat {
		this.#gpu.upload(this.#raw[turn]!, data);
		return data instanceof Float32Array ? "float32" : "float16";
	}

	/** What follows is about so many rows. */
	#begin(rows: number): void {
		if (this.#closed) throw new SaeError("the SAE was closed while it was in use");
		this.#gpu.check();
		this.#gpu.write(this.#step, packStep({ rows, input_scale: 1, k: [this.#k] }));
	}

	async #encodeSome(
		turn: number,
		data: Float32Array | Uint16Array,
		rows: number,
		uploaded: () => void,
	): Promise<Codes> {
		this.#begin(rows);
		const format = this.#upload(turn, data);
		uploaded();
		for (;;) {
			const found = await this.#run(turn, format, rows);
			if (typeof found !== "number") return found;
			await this.#makeRoom(found, rows);
		}
	}

	/**
	 * Encodes the rows that arrived. Codes of any number are read back as many as there may be, for until they are counted
	 * the device would have nothing to do; of more than that, returns how many there are.
	 */
	async #run(turn: number, format: RowFormat, rows: number): Promise<Codes | number> {
		this.#begin(rows);
		const { capacity, index, value, span, carry, end, prepare, encode } = this.#encoder;
		const likely = this.#densest === 0 ? capacity : Math.ceil(this.#densest * rows * GROWTH);
		const room = this.#room > 0 ? rows * this.#room : Math.min(capacity, likely);
		submit(this.#gpu, [prepare[turn]![format], ...encode]);
		const parts = [
			{ buffer: carry, byteOffset: end * 4, bytes: 4 },
			{ buffer: span, bytes: rows * 8 },
			{ buffer: index, bytes: room * 4 },
			{ buffer: value, bytes: room * 4 },
		];
		return this.#gpu.readParts(parts, ([entries, spans, indices, values]) => {
			// Where every row has its own room, nothing is counted.
			const needed = entries![0]!;
			if (needed > room) return needed;
			this.#densest = Math.max(this.#densest, needed / rows);
			return packCodes(rows, spans!, indices!, values!);
		});
	}

	/** Makes room for so many codes of `rows` rows. */
	#makeRoom(entries: number, rows: number): Promise<void> {
		this.#densest = Math.max(this.#densest, entries / rows);
		const grow = async () => {
			if (entries <= this.#encoder.capacity) return;
			const capacity = Math.min(this.#layout.rows * this.d_sae, Math.ceil(entries * GROWTH));
			const what = `${entries} codes of ${rows} rows`;
			const bigger = await this.#gpu.checked(what, () => this.#buildEncoder(capacity));
			for (const buffer of this.#encoder.allocated) buffer.destroy();
			this.#encoder = bigger;
		};
		const grown = this.#growing.then(grow, grow);
		this.#growing = grown;
		return grown;
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
			const decoded = out.subarray(first * this.d_out, (first + count) * this.d_out);
			await this.#decodeSome(codes, first, count, rows, decoded);
		}
		return out;
	}

	/** Reconstructions of some rows into `out`. */
	async #decodeSome(
		{ offsets, index, value }: Codes,
		first: number,
		rows: number,
		inputs: Float32Array | Uint16Array | undefined,
		out: Float32Array,
	): Promise<void> {
		const gpu = this.#gpu;
		this.#begin(rows);
		const { outWidth: width, shards } = this.#layout;
		const [begin, end] = [offsets[first]!, offsets[first + rows]!];
		// Codes from elsewhere can be denser than k.
		const decoder = this.#decoderOf(end - begin);
		const spans = new Uint32Array(rows * 2);
		for (let row = 0; row < rows; row++) {
			spans[2 * row] = offsets[first + row]! - begin;
			spans[2 * row + 1] = offsets[first + row + 1]! - begin;
		}
		gpu.writePadded(decoder.index, index.subarray(begin, end));
		gpu.writePadded(decoder.value, value.subarray(begin, end));
		gpu.write(decoder.span, spans);
		for (const [s, { start, count }] of shards.entries()) {
			gpu.write(decoder.parts[s]!, Uint32Array.of(rows, 0, start, start + count));
		}
		const before: Dispatch[] = [];
		const after: Dispatch[] = [];
		if (inputs && needsInputs(this.#model)) {
			const format = this.#upload(IN_FLIGHT, inputs);
			if (this.#skip) after.push(...this.#skip[format]);
			if (this.#restore) {
				// Preparing rows leaves their statistics; what else it writes is written anew before it is read.
				before.push(this.#encoder.prepare[IN_FLIGHT]![format]);
				after.push(this.#restore);
			}
		}
		const decode = decoder.decode.map((shard) => ({ ...shard, groups: grid(rows) }));
		submit(gpu, [...before, ...decode, ...after]);
		await gpu.readParts([{ buffer: this.#out, bytes: rows * width * 4 }], ([words]) => {
			const { buffer, byteOffset, length } = words!;
			out.set(unpadRows(new Float32Array(buffer, byteOffset, length), this.d_out, width, rows));
		});
	}

	/** One with room for so many codes: the last one, unless it has not. */
	#decoderOf(entries: number): Decoder {
		if (this.#decoder && this.#decoder.capacity >= entries) return this.#decoder;
		this.#closeDecoder();
		const gpu = this.#gpu;
		const { outWidth: width, shards, rows } = this.#layout;
		const capacity = Math.ceil(entries * GROWTH);
		const codes = {
			index: gpu.buffer("code indices", capacity * 4),
			value: gpu.buffer("code values", capacity * 4),
			span: gpu.buffer("code spans", rows * 8),
		};
		const parts = shards.map(() => gpu.constants(0, 0, 0, 0, 0));
		const decode = shards.map((_, s) => {
			const shape = {
				width,
				threads: gpu.rowThreads(width),
				start: s === 0 ? "bias" : "partial",
				last: false,
				deadOnly: false,
			} as const;
			const bindings = [
				parts[s]!,
				this.#parameters.W_dec.weights[s]!,
				codes.index,
				codes.value,
				codes.span,
				this.#out,
				...decodeBindings(shape).map(() => this.#parameters.b_dec.weights),
			];
			return dispatch(gpu, "decode", decodeRows(shape), bindings, rows);
		});
		this.#decoder = { ...codes, capacity, parts, decode };
		return this.#decoder;
	}

	/** What it was asked for before is done all the same. */
	#closeDecoder(): void {
		if (!this.#decoder) return;
		const { index, value, span, parts } = this.#decoder;
		for (const buffer of [index, value, span, ...parts]) buffer.destroy();
	}

	close(): void {
		this.#closed = true;
		for (const buffer of [...this.#encoder.allocated, ...this.#raw, this.#out]) buffer.destroy();
		this.#closeDecoder();
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

/**
 * A copy of codes whose rows each have room of their own, one row's behind the other's, without what a row left over.
 * `bits`: of their values.
 */
function packCodes(rows: number, spans: Uint32Array, indices: Uint32Array, bits: Uint32Array): Codes {
	const offsets = new Uint32Array(rows + 1);
	for (let row = 0; row < rows; row++) {
		offsets[row + 1] = offsets[row]! + spans[2 * row + 1]! - spans[2 * row]!;
	}
	const entries = offsets[rows]!;
	const values = new Float32Array(bits.buffer, bits.byteOffset, bits.length);
	// Most often all rows are full.
	if (entries === (spans[2 * rows - 1] ?? 0)) {
		return { rows, offsets, index: indices.slice(0, entries), value: values.slice(0, entries) };
	}
	const index = new Uint32Array(entries);
	const value = new Float32Array(entries);
	for (let row = 0; row < rows; row++) {
		const gap = spans[2 * row]! - offsets[row]!;
		const end = offsets[row + 1]!;
		for (let at = offsets[row]!; at < end; at++) {
			index[at] = indices[at + gap]!;
			value[at] = values[at + gap]!;
		}
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
