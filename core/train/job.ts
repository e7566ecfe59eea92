/** What a trainer is given. */
import type { Sizes, TrainingSpec } from "../architecture.ts";
import type { SaeModel, Tensor } from "../sae.ts";
import type { RecordStream } from "../stream.ts";

/** What an SAE may have of its own where several share a run. */
export interface OwnSettings {
	/** Learning rate instead of the run's. */
	readonly lr?: number | undefined;
	/** Seed of the initial weights instead of the run's, which orders the rows for all. */
	readonly seed?: number | undefined;
	/** The L0 to adjust the sparsity coefficient to, instead of the run's. */
	readonly target_l0?: number | undefined;
}

/** One SAE of a run. Several may share the stream. */
export interface SaeJob extends OwnSettings {
	/** Unique within the run; names its metrics rows and its arrays in checkpoints. */
	readonly name: string;
	readonly architecture: string;
	/** The architecture's validated options, kept in checkpoints. */
	readonly options: Readonly<Record<string, unknown>>;
	readonly d_sae: number;
	/** The architecture's description, once the stream has said how wide its rows are. */
	describe(widths: Omit<Sizes, "d_sae">): TrainingSpec;
	/** The architecture's ways to what it saves and back. */
	finish?(model: SaeModel): SaeModel;
	restore?(model: SaeModel): Readonly<Record<string, Tensor>>;
	/** Settings of the finished SAE. */
	readonly settings: SaeModel["settings"];
	/** An SAE to start from instead of fresh parameters. */
	readonly initial?: SaeModel;
	/** Writes a finished or interrupted SAE in the native format. */
	save(model: SaeModel): Promise<void>;
}

/** One logged step of one SAE; a row of the metrics stream. Null where a figure was not computed. */
export interface TrainMetrics {
	readonly sae: string;
	/** Updates made. */
	readonly step: number;
	/** Rows seen. */
	readonly tokens: number;
	/** The whole loss on this step's batch, as the optimiser sees it. */
	readonly loss: number;
	/** Fraction of variance unexplained on this step's batch. */
	readonly fvu: number | null;
	readonly l0: number;
	/** Share of latents that have not fired for the dead threshold. */
	readonly dead: number;
	/** FVU and l0 on the held-out rows, when they were evaluated at this step. */
	readonly eval_fvu: number | null;
	readonly eval_l0: number | null;
	readonly lr: number;
	/** Rows per second since the last logged step. */
	readonly rate: number;
	/** Seconds since this process began to train. */
	readonly seconds: number;
}

export interface TrainJob {
	readonly stream: RecordStream;
	/** Columns that are encoded, side by side; `activation`, or the only one of vectors, when not given. */
	readonly columns?: readonly string[] | undefined;
	/** Columns that are reconstructed, side by side; those that are encoded when not given. */
	readonly targets?: readonly string[] | undefined;
	/** Column with the number of each row's layer: every layer's rows are scaled by themselves. */
	readonly layers?: string | undefined;
	/** Rows to evaluate on, from the same columns; else the trainer may hold rows of `stream` out. */
	readonly evaluation?: RecordStream | undefined;
	readonly saes: readonly SaeJob[];
	/** The run's training state; written now and then, and read when `resume` is set. */
	readonly checkpoint: string;
	readonly resume: boolean;
	/** Called for every logged step; resolves when the row is written or can't be any more. */
	report(metrics: TrainMetrics): Promise<void>;
	/**
	 * Called when the loss of an SAE stopped being finite. With it, the run goes on without that SAE, which is not
	 * saved; without it, the run ends with an error.
	 */
	diverged?(sae: string, step: number): void;
}
