/** What a plugin is: a name, an API version, and contributions that core can call. */
import type { RecordBatch, Schema } from "apache-arrow";
import type { z } from "zod";
import type { Core } from "./api.ts";
import type { Architecture } from "./architecture.ts";
import type { Gpu } from "./gpu/device.ts";
import type { Interpreter, InterpreterInput } from "./interpret/interpreter.ts";
import type { SaeRuntime } from "./runtime.ts";
import type { SaeModel } from "./sae.ts";
import type { RecordStream } from "./stream.ts";
import type { SaeJob, TrainJob } from "./train/job.ts";

/** Version of these interfaces. A plugin states the one it was written for. */
export const API_VERSION = 1;

/** What a contribution may use while it works. Logs go to stderr; stdout belongs to the data. */
export interface Context {
	readonly log: Logger;
	/** Aborted by SIGINT or when the reader of our output goes away. */
	readonly signal: AbortSignal;
	/** Opens the GPU on first use. */
	gpu(): Promise<Gpu>;
	/** Reads an SAE in any format that can be read. */
	loadSae(path: string): Promise<SaeModel>;
	/** Puts an SAE on the GPU, ready to encode and decode; `k` replaces the one it was saved with. */
	openSae(model: SaeModel, override?: { readonly k?: number | undefined }): Promise<SaeRuntime>;
	/** The command line that runs, for provenance. */
	readonly command: string;
}

export interface Logger {
	info(message: string): void;
	/** How a long command goes: replaces the line before on a terminal, and comes now and then elsewhere. */
	progress(message: string): void;
	warn(message: string): void;
	/** Shown only with `--debug`. */
	debug(message: string): void;
}

// biome-ignore lint/suspicious/noExplicitAny: a registry holds contributions of every option type
type AnyOptions = any;

interface ContributionBase<Options> {
	readonly name: string;
	/** One line for `--help`. */
	readonly summary: string;
	/** Options as a zod object; keys are snake_case and become `--kebab-case` flags. */
	readonly options: z.ZodType<Options>;
	/** An option key that takes the command's positional arguments. */
	readonly positional?: { readonly key: string; readonly variadic: boolean };
}

/** A source of activations whose rows have fixed numbers, so that it can start anywhere. */
export interface ActivationSource {
	readonly schema: Schema;
	/** Rows in all, when known. */
	readonly rows?: number;
	/** Batches from row number `start` of the source's own order. */
	batches(start: number): AsyncIterable<RecordBatch>;
}

export interface SourceContribution<O = AnyOptions> extends ContributionBase<O> {
	readonly kind: "source";
	open(options: O, context: Context): Promise<ActivationSource>;
}

export interface ArchitectureContribution<O = AnyOptions> extends ContributionBase<O>, Architecture<O> {
	readonly kind: "architecture";
}

export interface TrainerContribution<O = AnyOptions> extends ContributionBase<O> {
	readonly kind: "trainer";
	train(job: TrainJob, options: O, context: Context): Promise<void>;
	/**
	 * About how many bytes of device memory an SAE takes in training on rows of these widths. Throws for one that can't
	 * be trained. A sweep trains as many at once as fit; without this, all.
	 */
	memory?(sae: SaeJob, widths: RowWidths, options: O, context: Context): Promise<number>;
}

/** Widths of the columns that are encoded, and of those that are reconstructed where these are others. */
export interface RowWidths {
	readonly inputs: readonly number[];
	readonly targets?: readonly number[] | undefined;
}

export interface ExporterContribution<O = AnyOptions> extends ContributionBase<O> {
	readonly kind: "exporter";
	/** Writes the SAE as the folder or file `path`, atomically. Refuses what the format cannot hold. */
	write(model: SaeModel, path: string, options: O): Promise<void>;
}

export interface ImporterContribution<O = AnyOptions> extends ContributionBase<O> {
	readonly kind: "importer";
	/** Whether `path` looks like this format, judged by its content. */
	detect(path: string): Promise<boolean>;
	read(path: string): Promise<SaeModel>;
}

/** One row of an evaluation's result. */
export type MetricRow = Record<string, number | string | null>;

export interface EvaluatorContribution<O = AnyOptions> extends ContributionBase<O> {
	readonly kind: "evaluator";
	/** `stream`: reads activations from stdin or a file; `none`: needs only the SAE's weights. */
	readonly input: "stream" | "none";
	evaluate(
		input: { readonly model: SaeModel; readonly stream?: RecordStream },
		options: O,
		context: Context,
	): Promise<MetricRow[]>;
}

/** An evaluator of rows by themselves: no SAE takes part. */
export interface RowsEvaluatorContribution<O = AnyOptions> extends ContributionBase<O> {
	readonly kind: "evaluator";
	readonly input: "rows";
	evaluate(input: { readonly stream: RecordStream }, options: O, context: Context): Promise<MetricRow[]>;
}

/** An evaluator that opens by its own options what it evaluates, e.g. several SAEs and a language model. */
export interface OwnEvaluatorContribution<O = AnyOptions> extends ContributionBase<O> {
	readonly kind: "evaluator";
	readonly input: "own";
	evaluate(input: Readonly<Record<never, never>>, options: O, context: Context): Promise<MetricRow[]>;
}

export interface InterpreterContribution<O = AnyOptions> extends ContributionBase<O> {
	readonly kind: "interpreter";
	/** Gets ready to explain latents. Undefined where the options ask for no more than an outlook, which it has given. */
	open(input: InterpreterInput, options: O, context: Context): Promise<Interpreter | undefined>;
}

export type Contribution =
	| SourceContribution
	| ArchitectureContribution
	| TrainerContribution
	| ExporterContribution
	| ImporterContribution
	| EvaluatorContribution
	| RowsEvaluatorContribution
	| OwnEvaluatorContribution
	| InterpreterContribution;

export type ContributionKind = Contribution["kind"];

export interface Plugin {
	readonly name: string;
	readonly apiVersion: number;
	/** Called with core's API, so that a plugin never depends on which copy of core it resolves. */
	contributes(core: Core): readonly Contribution[];
}

/** Types a plugin; returns it unchanged. */
export function definePlugin(plugin: Plugin): Plugin {
	return plugin;
}
