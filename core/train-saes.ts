/** Training as a library: what `sae train` does, with the SAEs as values instead of folders. */
import { mkdtemp, rm } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { z } from "zod";
import { builtIn } from "./built-in.ts";
import { SaeError, usageError } from "./errors.ts";
import type { Gpu } from "./gpu/device.ts";
import { loadSae } from "./load.ts";
import { openSae } from "./open-sae.ts";
import type { ArchitectureContribution, Context, Logger } from "./plugin.ts";
import type { ContributionOf, Registry } from "./registry.ts";
import type { SaeModel } from "./sae.ts";
import type { RecordStream } from "./stream.ts";
import type { OwnSettings, SaeJob, TrainMetrics } from "./train/job.ts";

/** The trainer of `sae train`. */
export const TRAINER = "adam";

export interface SaeToTrain extends OwnSettings {
	/** Name of an architecture plugin, e.g. `topk`. */
	readonly architecture: string;
	readonly d_sae: number;
	/** The architecture's options: those of `sae train ARCHITECTURE --help`, with `_` for `-`. */
	readonly options?: Readonly<Record<string, unknown>>;
	/** Tells it apart in metrics and checkpoints; by default the architecture's name. */
	readonly name?: string;
	/** An SAE of the same sizes to start from instead of fresh weights. */
	readonly initial?: SaeModel;
}

export interface TrainOptions {
	/** What to learn from: `openArrow`'s, `rowStream`'s or any other. */
	readonly stream: RecordStream;
	/** Columns of vectors, side by side; by default `activation`, or the only one. */
	readonly columns?: readonly string[];
	/** Columns that are reconstructed, for transcoders; by default those that are encoded. */
	readonly targets?: readonly string[];
	/** Column with the number of each row's layer, to scale each layer's rows by themselves. */
	readonly layers?: string;
	/** One or more; all of them see the same batches. */
	readonly saes: readonly SaeToTrain[];
	/** The trainer's options, e.g. `{ tokens: 1e6, lr: 1e-3 }`: those of `sae train --help`, with `_` for `-`. */
	readonly options?: Readonly<Record<string, unknown>>;
	/** File for the training state. Without it the state is lost when training ends. */
	readonly checkpoint?: string;
	/** Go on from that file, with the same options and the same stream from its beginning. */
	readonly resume?: boolean;
	/** Called for each logged step of each SAE; training waits for it. */
	report?(metrics: TrainMetrics): void | Promise<void>;
	/** Where messages go; by default nowhere. */
	readonly log?: Partial<Logger>;
	/** Ends training early, with the SAEs as they are then. */
	readonly signal?: AbortSignal;
	/** By default one is opened, and closed at the end. */
	readonly gpu?: Gpu;
	/** Where to look for plugins; by default among those that come with saeflow. */
	readonly registry?: Registry;
}

/**
 * Trains SAEs on a stream and returns them in the order of `saes`, ready for `saveSae` and `openSae`.
 *
 * @throws SaeError for a wrong option, a stream that can't be used, a loss that stops being finite, or no GPU.
 * @example
 * const [sae] = await train({
 * 	stream: await openArrow("activations.arrow"),
 * 	saes: [{ architecture: "topk", d_sae: 8192, options: { k: 32 } }],
 * 	options: { tokens: 1_000_000 },
 * 	report: ({ step, fvu }) => console.error(step, fvu),
 * });
 * await saveSae(sae!, "my-sae");
 */
export async function train(request: TrainOptions): Promise<SaeModel[]> {
	const registry = request.registry ?? (await builtIn());
	const trainer = await registry.find("trainer", TRAINER);
	if (!trainer) throw new SaeError(`no plugin contributes the trainer ${TRAINER}`);
	const options = parse(trainer, request.options);
	const finished = new Map<string, SaeModel>();
	const saes: SaeJob[] = [];
	for (const { architecture: kind, options: chosen, ...sae } of request.saes) {
		const architecture = await registry.find("architecture", kind);
		if (!architecture) throw usageError(`no plugin contributes the architecture "${kind}"`);
		const name = sae.name ?? kind;
		if (saes.some((job) => job.name === name)) {
			throw usageError(`two SAEs are called ${name}; give them different names`);
		}
		saes.push(
			saeJob(architecture, parse(architecture, chosen), {
				...sae,
				name,
				d_sae: checkSize(sae.d_sae, name),
				save: async (model) => void finished.set(name, model),
			}),
		);
	}
	if (saes.length === 0) throw usageError("saes is empty: name at least one to train");

	const scratch = request.checkpoint === undefined ? await mkdtemp(join(tmpdir(), "saeflow-")) : undefined;
	const context = createContext(request, registry);
	try {
		const job = {
			stream: request.stream,
			columns: request.columns,
			targets: request.targets,
			layers: request.layers,
			saes,
			checkpoint: request.checkpoint ?? join(scratch!, "checkpoint.safetensors"),
			resume: request.resume ?? false,
			report: async (metrics: TrainMetrics) => request.report?.(metrics),
		};
		await trainer.train(job, options, context);
	} finally {
		await context.close();
		if (scratch !== undefined) await rm(scratch, { recursive: true, force: true });
	}
	return saes.map(({ name }) => finished.get(name)!);
}

/** One SAE of a run, from an architecture and its validated options. */
export function saeJob(
	architecture: ArchitectureContribution,
	options: unknown,
	rest: Omit<SaeJob, "architecture" | "options" | "describe" | "settings" | "finish" | "restore">,
): SaeJob {
	return {
		...rest,
		architecture: architecture.name,
		options: options as SaeJob["options"],
		describe: (widths) => architecture.training(options, { ...widths, d_sae: rest.d_sae }),
		settings: architecture.settings(options),
		...(architecture.finish && { finish: (model) => architecture.finish!(model) }),
		...(architecture.restore && { restore: (model) => architecture.restore!(model) }),
	};
}

/** Validated options of a plugin; unlike zod by itself, unknown ones are errors. */
function parse(
	{ kind, name, options: schema }: ContributionOf<"trainer" | "architecture">,
	given: Readonly<Record<string, unknown>> = {},
): unknown {
	const strict = schema instanceof z.ZodObject ? schema.strict() : schema;
	const result = strict.safeParse(given);
	if (result.success) return result.data;
	const complaints = result.error.issues.map(({ path, message }) => [...path, message].join(": "));
	throw usageError(`options of the ${kind} ${name}: ${complaints.join("; ")}`);
}

function checkSize(d_sae: number, name: string): number {
	if (Number.isInteger(d_sae) && d_sae >= 1) return d_sae;
	throw usageError(`d_sae of ${name} must be a whole number of at least 1, got ${d_sae}`);
}

function createContext(request: TrainOptions, registry: Registry): Context & { close(): Promise<void> } {
	const silent = () => {};
	const log = { info: silent, progress: silent, warn: silent, debug: silent, ...request.log };
	let own: Promise<Gpu> | undefined;
	const gpu = () => {
		if (request.gpu) return Promise.resolve(request.gpu);
		// Loaded here, for most uses of this package need no GPU.
		own ??= import("./gpu/device.ts").then(({ openGpu }) => openGpu(log));
		return own;
	};
	return {
		log,
		signal: request.signal ?? new AbortController().signal,
		command: "train() of the saeflow library",
		gpu,
		loadSae: (path) => loadSae(path, registry),
		openSae: async (model, { k } = {}) => openSae(model, { k, gpu: await gpu(), registry }),
		async close() {
			(await own?.catch(() => undefined))?.close();
		},
	};
}
