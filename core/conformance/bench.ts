/** Where a plugin is tried: a context, a registry that has it, and small data. */

import { withBuiltIn } from "../built-in.ts";
import type { Gpu } from "../gpu/device.ts";
import { openGpu } from "../gpu/device.ts";
import { loadSae } from "../load.ts";
import { openSae } from "../open-sae.ts";
import type { Context, Plugin } from "../plugin.ts";
import { CounterRng } from "../random.ts";
import type { PluginEntry, Registry } from "../registry.ts";
import { rowStream } from "../row-stream.ts";
import type { Codes, SaeModel, Tensor } from "../sae.ts";
import type { RecordStream } from "../stream.ts";

export interface Bench {
	readonly context: Context;
	readonly registry: Registry;
	/** Codes of rows, and what they decode to. */
	run(
		model: SaeModel,
		data: Float32Array,
	): Promise<{ readonly codes: Codes; readonly decoded: Float32Array }>;
}

export interface BenchOptions {
	/** A device to compute on; by default one is opened, and closed at the end. */
	readonly gpu?: Gpu;
}

/** Does `work` with a context as a command has one, among the built-in plugins and this one. */
export async function withBench<T>(
	plugin: Plugin,
	{ gpu: given }: BenchOptions,
	work: (bench: Bench) => Promise<T>,
): Promise<T> {
	const { core } = await import("../api.ts");
	const entry: PluginEntry = {
		name: plugin.name,
		provides: plugin.contributes(core).map(({ kind, name }) => `${kind}:${name}` as const),
		load: async () => ({ default: plugin }),
	};
	const registry = await withBuiltIn([entry]);
	let own: Promise<Gpu> | undefined;
	const gpu = () => {
		if (given) return Promise.resolve(given);
		own ??= openGpu();
		return own;
	};
	const silent = () => {};
	const context: Context = {
		log: { info: silent, progress: silent, warn: silent, debug: silent },
		signal: new AbortController().signal,
		command: "sae",
		gpu,
		loadSae: (path) => loadSae(path, registry),
		openSae: async (model, { k } = {}) => openSae(model, { k, gpu: await gpu(), registry }),
	};
	const run: Bench["run"] = async (model, data) => {
		const runtime = await context.openSae(model);
		try {
			const codes = await runtime.encode(data, data.length / model.d_in);
			return { codes, decoded: await runtime.decode(codes, data) };
		} finally {
			runtime.close();
		}
	};
	try {
		return await work({ context, registry, run });
	} finally {
		(await own?.catch(() => undefined))?.close();
	}
}

/** Sparse sums of random unit features, [rows, d_in]: what an SAE can learn. The features depend on the seed alone. */
export function toyRows(rows: number, d_in: number, seed = 0): Float32Array {
	const features = 2 * d_in;
	const random = new CounterRng(seed);
	const [chosen, values] = [random.derive(1), random.derive(2)];
	const directions = unitRows(random, features, d_in);
	const data = new Float32Array(rows * d_in);
	for (let i = 0; i < 3 * rows; i++) {
		const row = Math.floor(i / 3);
		const feature = Math.floor(chosen.uniform(i) * features);
		const value = 0.5 + values.uniform(i);
		for (let j = 0; j < d_in; j++) data[row * d_in + j]! += value * directions[feature * d_in + j]!;
	}
	return data;
}

/** The rows as a stream, in batches of 128. */
export function toyStream(data: Float32Array, d_in: number): RecordStream {
	const size = 128 * d_in;
	const chunks = Array.from({ length: Math.ceil(data.length / size) }, (_, i) =>
		data.subarray(i * size, (i + 1) * size),
	);
	return rowStream(chunks, d_in);
}

/** A TopK SAE with random weights and unit decoder rows. */
export function toySae(d_in: number, d_sae: number, k: number): SaeModel {
	const random = new CounterRng(7);
	const W_dec = unitRows(random, d_sae, d_in);
	const W_enc = new Float32Array(d_in * d_sae);
	for (let i = 0; i < d_sae; i++) for (let j = 0; j < d_in; j++) W_enc[j * d_sae + i] = W_dec[i * d_in + j]!;
	const vector = (length: number, scale: number, label: number): Tensor => {
		const values = random.derive(label);
		return { shape: [length], data: Float32Array.from({ length }, (_, i) => scale * values.normal(i)) };
	};
	return {
		architecture: "topk",
		d_in,
		d_sae,
		apply_b_dec_to_input: true,
		normalize_activations: "none",
		settings: { k },
		metadata: { note: "of a conformance suite" },
		tensors: {
			W_enc: { shape: [d_in, d_sae], data: W_enc },
			W_dec: { shape: [d_sae, d_in], data: W_dec },
			b_enc: vector(d_sae, 0.05, 1),
			b_dec: vector(d_in, 0.2, 2),
		},
	};
}

function unitRows(random: CounterRng, rows: number, width: number): Float32Array {
	const data = Float32Array.from({ length: rows * width }, (_, i) => random.normal(i));
	for (let row = 0; row < rows; row++) {
		const values = data.subarray(row * width, (row + 1) * width);
		const norm = Math.hypot(...values);
		values.forEach((value, i) => {
			values[i] = value / norm;
		});
	}
	return data;
}
