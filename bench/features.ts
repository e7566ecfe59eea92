/**
 * How fast `sae features` goes through rows, on made-up ones:
 *
 *     bun bench/features.ts [--rows 1000000] [--d-in 768] [--d-sae 32768] [--k 32] [--latents] [--no-stream]
 *
 * With --latents it takes a stream of codes, so that collecting alone is timed, without what makes them; how often
 * latents are active is then spread evenly over three decades. Else rows go through a random TopK SAE on the GPU, ahead of
 * the collector, the first million of them also without one. At the end the features are written to nowhere, unless
 * --no-stream.
 *
 * How much garbage there may be depends on the machine's memory: BUN_JSC_forceRAMSize (bytes) stands for a larger one's.
 */
import { parseArgs } from "node:util";
import type { FixedSizeList, RecordBatch, Schema } from "apache-arrow";
import { activationsBatch, activationsSchema } from "../core/arrow/activations.ts";
import { latentsBatch, latentsSchema } from "../core/arrow/codes.ts";
import { ArrowWriter } from "../core/arrow/writer.ts";
import { collectFeatures } from "../core/features/collect.ts";
import type { Collected, CollectorOptions } from "../core/features/collector.ts";
import { featuresStream } from "../core/features/features.ts";
import { collectorBytes } from "../core/features/memory.ts";
import { encodeStream } from "../core/latents.ts";
import { openSae } from "../core/open-sae.ts";
import type { Codes, SaeModel } from "../core/sae.ts";
import { hashedRows, hashedWeights, number, openDevice } from "./common.ts";

const BATCH = 8192;
/** Batches that come again and again, codes with other values. */
const POOL = 8;
const FACTS = ["token", "document", "position"] as const;

const { values } = parseArgs({
	options: {
		rows: { type: "string", default: "1000000" },
		"d-in": { type: "string", default: "768" },
		"d-sae": { type: "string", default: "32768" },
		k: { type: "string", default: "32" },
		latents: { type: "boolean", default: false },
		"no-stream": { type: "boolean", default: false },
	},
});
const [rows, d_in, d_sae, k] = (["rows", "d-in", "d-sae", "k"] as const).map((flag) =>
	number(flag, values[flag]),
) as [number, number, number, number];

const options: CollectorOptions = {
	d_sae,
	examples: 20,
	samples: 25,
	before: 24,
	after: 7,
	tokens: true,
	sketch: 256,
	seed: 0,
};
console.error(
	`${rows.toLocaleString("en")} rows, d_sae ${d_sae}, k ${k}; statistics take ${(collectorBytes(options) / 2 ** 30).toFixed(2)} GiB`,
);
const collected = values.latents ? await collectCodes() : await encodeAndCollect();
if (!values["no-stream"]) await write(collected);
console.error(`peak memory ${peak()}`);

/** Rows from `first` on, of documents of 256 tokens. */
function activations(schema: Schema, data: Float32Array, first: number): RecordBatch {
	const width = (schema.fields[0]!.type as FixedSizeList).listSize;
	const count = data.length / width;
	const each = (of: (row: number) => number) => {
		const values = new Uint32Array(count);
		for (let i = 0; i < count; i++) values[i] = of(first + i);
		return values;
	};
	return activationsBatch(
		schema,
		{ data, rows: count, width, type: "float32" },
		{
			token: each((row) => Math.imul(row, 0x9e3779b1) >>> 17),
			document: each((row) => row >> 8),
			position: each((row) => row & 255),
		},
	);
}

function report(what: string, milliseconds: number, count = rows): void {
	const rate = (each: number) => Math.round((1000 * each * count) / milliseconds).toLocaleString("en");
	console.error(
		`${what}: ${(milliseconds / 1000).toFixed(1)} s, ${rate(1)} rows/s, ${rate(k)} codes/s, ${((1e6 * milliseconds) / count / k).toFixed(1)} ns per code; memory so far ${peak()}`,
	);
}

/** The process's largest resident memory. */
function peak(): string {
	// In KiB.
	return `${(process.resourceUsage().maxRSS / 2 ** 20).toFixed(2)} GiB`;
}

/** Codes of new values, in new memory for every batch, as they come from a file or a device. */
async function collectCodes(): Promise<Collected> {
	const pool = Array.from({ length: POOL }, (_, i) => madeUpCodes(i));
	const from = activationsSchema({ width: 1, type: "float32", columns: FACTS });
	const schema = latentsSchema(from.fields.slice(1));
	let state = 1;
	let making = 0;
	async function* batches(): AsyncGenerator<RecordBatch> {
		for (let first = 0; first < rows; first += BATCH) {
			const began = performance.now();
			const count = Math.min(BATCH, rows - first);
			const { offsets, index, value } = pool[(first / BATCH) % POOL]!;
			for (let at = 0; at < value.length; at++) {
				state = (Math.imul(state, 1664525) + 1013904223) >>> 0;
				value[at] = 1 / (0.1 + state / 2 ** 32);
			}
			const codes = {
				rows: count,
				offsets: offsets.slice(0, count + 1),
				index: index.slice(0, count * k),
				value: value.slice(0, count * k),
			};
			const batch = latentsBatch(schema, codes, activations(from, new Float32Array(count), first));
			making += performance.now() - began;
			yield batch;
		}
	}
	const began = performance.now();
	const found = await collectFeatures({ schema, batches: batches() }, options);
	report("collecting", performance.now() - began - making);
	return found;
}

function madeUpCodes(seed: number): Codes {
	let state = seed + 1;
	const uniform = () => {
		state = (Math.imul(state, 1664525) + 1013904223) >>> 0;
		return state / 2 ** 32;
	};
	const index = new Uint32Array(BATCH * k);
	for (let row = 0; row < BATCH; row++) {
		const active = new Set<number>();
		while (active.size < k) {
			const place = Math.floor((-d_sae / 3) * Math.log10(1 - uniform() * 0.999));
			active.add((Math.imul(place, 0x9e3779b1) >>> 0) % d_sae);
		}
		index.set(Uint32Array.from(active).sort(), row * k);
	}
	const offsets = Uint32Array.from({ length: BATCH + 1 }, (_, row) => row * k);
	return { rows: BATCH, offsets, index, value: new Float32Array(BATCH * k) };
}

async function encodeAndCollect(): Promise<Collected> {
	const gpu = await openDevice();
	const model = randomModel();
	const runtime = await openSae(model, { gpu });
	const warm = hashedRows(BATCH, d_in, 3);
	await runtime.encode(warm, BATCH);
	const schema = activationsSchema({
		width: d_in,
		type: "float32",
		columns: FACTS,
	});
	const pool = Array.from({ length: POOL }, (_, i) => hashedRows(BATCH, d_in, 10 + i));
	async function* batches(most: number): AsyncGenerator<RecordBatch> {
		for (let first = 0; first < most; first += BATCH) {
			const count = Math.min(BATCH, most - first);
			yield activations(schema, pool[(first / BATCH) % POOL]!.subarray(0, count * d_in), first);
		}
	}
	const encoded = (most: number) => encodeStream({ schema, batches: batches(most) }, model, runtime);
	const some = Math.min(rows, 1_000_000);
	let began = performance.now();
	for await (const _ of encoded(some).batches);
	report("encoding alone", performance.now() - began, some);
	began = performance.now();
	const found = await collectFeatures(encoded(rows), options);
	report("encoding and collecting", performance.now() - began);
	runtime.close();
	gpu.close();
	return found;
}

function randomModel(): SaeModel {
	const { W_dec, b_enc, b_dec } = hashedWeights({ d_in, d_sae, k, batch: BATCH });
	return {
		architecture: "topk",
		d_in,
		d_sae,
		apply_b_dec_to_input: true,
		normalize_activations: "none",
		settings: { k },
		metadata: {},
		tensors: {
			W_enc: { shape: [d_in, d_sae], data: hashedRows(d_in, d_sae, 5) },
			b_enc: { shape: [d_sae], data: b_enc! },
			W_dec: { shape: [d_sae, d_in], data: W_dec! },
			b_dec: { shape: [d_in], data: b_dec! },
		},
	};
}

async function write(collected: Collected): Promise<void> {
	const began = performance.now();
	const stream = featuresStream(
		{
			collected,
			norms: new Float32Array(d_sae).fill(1),
			encoderDecoderCosines: undefined,
			nearest: undefined,
			logits: undefined,
			texts: undefined,
			cooccurring: 10,
		},
		[],
	);
	let bytes = 0;
	const sink = {
		write: async (part: Uint8Array) => {
			bytes += part.length;
		},
	};
	const writer = new ArrowWriter(stream.schema, sink, "stream");
	for await (const batch of stream.batches) await writer.write(batch);
	await writer.end();
	const seconds = (performance.now() - began) / 1000;
	console.error(`features: ${seconds.toFixed(1)} s, ${(bytes / 1e6).toFixed(0)} MB`);
}
