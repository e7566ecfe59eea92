/** Short training runs on rows whose features are known, to see what an architecture finds of them. */
import { mkdtemp, rm } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { core } from "../../core/api.ts";
import type { Sizes, TrainingSpec } from "../../core/architecture.ts";
import type { Gpu } from "../../core/gpu/device.ts";
import { loadSae, saveSae } from "../../core/load.ts";
import { openSae } from "../../core/open-sae.ts";
import type { EvaluatorContribution, MetricRow } from "../../core/plugin.ts";
import { createRegistry } from "../../core/registry.ts";
import type { Codes, SaeModel } from "../../core/sae.ts";
import type { RecordStream } from "../../core/stream.ts";
import type { TrainMetrics } from "../../core/train/job.ts";
import { train } from "../../core/train-saes.ts";
import recovery from "../../plugins/eval-recovery.ts";
import { plugins } from "../../plugins/index.ts";
import { referenceContext } from "../reference/context.ts";
import { openSource, rowsFrom } from "./sources.ts";

type Options = Readonly<Record<string, unknown>>;

/** 64 features in 32 dimensions, each on in 4 of 64 rows. */
const TOY = { d_in: 32, features: 64, probability: 4 / 64, magnitude: "0.5:1.5", seed: 1 };
const BATCH = 256;

export interface Run {
	readonly steps: number;
	/** Latents; 64 unless given. */
	readonly d_sae?: number;
	readonly batch?: number;
	/** Learning rate; 0.01 unless given. */
	readonly lr?: number;
}

export interface Learned {
	readonly model: SaeModel;
	/** Figures of the last step. */
	readonly last: TrainMetrics;
}

const registry = createRegistry(plugins);

/** The description of a built-in architecture, for options as a person would give them. */
export async function describeSpec(
	name: string,
	options: Options,
	sizes: Partial<Sizes> = {},
): Promise<TrainingSpec> {
	const architecture = (await registry.find("architecture", name))!;
	return architecture.training(architecture.options.parse(options), {
		d_in: 32,
		d_out: 32,
		d_sae: 64,
		...sizes,
	});
}

/** Trains on a stream. */
export async function learn(
	gpu: Gpu,
	architecture: string,
	options: Options,
	stream: RecordStream,
	{ steps, d_sae = 64, batch = BATCH, lr = 0.01 }: Run,
): Promise<Learned> {
	let last: TrainMetrics | undefined;
	const [model] = await train({
		gpu,
		stream,
		saes: [{ architecture, d_sae, options }],
		options: {
			tokens: steps * batch,
			batch_size: batch,
			lr,
			dead_tokens: 50 * batch,
			sample_rows: 2048,
			log_every: steps,
		},
		report: (metrics) => {
			last = metrics;
		},
	});
	return { model: model!, last: last! };
}

/** Trains on the toy rows, and compares the decoder with their features: figures of `sae eval recovery`. */
export async function recover(
	gpu: Gpu,
	architecture: string,
	options: Options,
	run: Run,
): Promise<Learned & { readonly found: MetricRow }> {
	const folder = await mkdtemp(join(tmpdir(), "sae-recover-"));
	try {
		const truth = join(folder, "truth.safetensors");
		const source = await openSource("synthetic", { ...TOY, rows: run.steps * (run.batch ?? BATCH), truth });
		const stream = { schema: source.schema, batches: source.batches(0) };
		const learned = await learn(gpu, architecture, options, stream, run);
		const [evaluator] = recovery.contributes(core) as [EvaluatorContribution];
		const chosen = evaluator.options.parse({ truth });
		const [found] = await evaluator.evaluate({ model: learned.model }, chosen, referenceContext());
		return { ...learned, found: found! };
	} finally {
		await rm(folder, { recursive: true });
	}
}

/** Toy rows that training has not seen. */
export async function freshRows(count: number): Promise<Float32Array> {
	const first = 5_000_000;
	const rows = await rowsFrom(await openSource("synthetic", { ...TOY, rows: first + count }), first);
	return Float32Array.from(rows.flat());
}

export interface Encoded {
	readonly codes: Codes;
	readonly decoded: Float32Array;
	/** Codes per row. */
	readonly l0: number;
	/** Squared error over that of the mean row. */
	readonly fvu: number;
}

/** What the finished SAE makes of rows, by itself or with another k. */
export async function encode(gpu: Gpu, model: SaeModel, rows: Float32Array, k?: number): Promise<Encoded> {
	const { d_in } = model;
	const count = rows.length / d_in;
	const runtime = await openSae(model, { gpu, k });
	try {
		const codes = await runtime.encode(rows, count);
		const decoded = await runtime.decode(codes);
		const means = new Float64Array(d_in);
		for (const [i, value] of rows.entries()) means[i % d_in]! += value / count;
		const [error, variance] = rows.reduce(
			([e, v], value, i) => [e + (value - decoded[i]!) ** 2, v + (value - means[i % d_in]!) ** 2] as const,
			[0, 0] as readonly [number, number],
		);
		return { codes, decoded, l0: codes.index.length / count, fvu: error / variance };
	} finally {
		runtime.close();
	}
}

/** The SAE as a folder gives it back. */
export async function reloaded(model: SaeModel): Promise<SaeModel> {
	const folder = await mkdtemp(join(tmpdir(), "sae-reload-"));
	try {
		await saveSae(model, join(folder, "sae"));
		return await loadSae(join(folder, "sae"));
	} finally {
		await rm(folder, { recursive: true });
	}
}
