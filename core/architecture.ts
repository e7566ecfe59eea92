/**
 * How an architecture describes itself. It says what it *is*, as plain data; core compiles the description into
 * GPU kernels and hands the trainer a step. An architecture never touches a kernel.
 */
import type { SaeModel } from "./sae.ts";

/** A value that may change over the run: linear from `from` to `to` over the first `until` share of the steps. */
export type Schedule = number | { readonly from: number; readonly to: number; readonly until: number };

/** How a parameter starts. */
export type Initialisation =
	| { readonly kind: "zeros" }
	/** Rows drawn uniformly from the unit sphere. */
	| { readonly kind: "unit_rows" }
	/** The same rows as another parameter, times `scale`. */
	| { readonly kind: "copy"; readonly of: string; readonly scale: number }
	/** The centre of a sample of the data. */
	| { readonly kind: "data_centre"; readonly method: "mean" | "geometric_median" };

export interface ParameterSpec {
	readonly name: string;
	/** Sizes in terms of the SAE: matrices are stored with one row per latent, [d_sae, d_in]. */
	readonly shape: readonly ("d_sae" | "d_in")[];
	readonly init: Initialisation;
	/** `unit_rows`: the gradient loses its part along each row, and rows return to unit norm after each update. */
	readonly constraint?: "unit_rows";
}

/** Which latents of a row stay on. Ties go to the lowest index. */
export type Selection = { readonly kind: "topk"; readonly k: Schedule };

/**
 * One term of the loss. It selects codes, decodes them and compares the result with its target. The first term's
 * codes are the SAE's own; only they count for l0 and for which latents are alive. It reconstructs the input from all.
 */
export interface LossTerm {
	readonly name: string;
	/** `dead`: only latents that have not fired for the trainer's dead threshold take part. */
	readonly latents: "all" | "dead";
	readonly select: Selection;
	/** `residual`: what the first term leaves unexplained, input − reconstruction, with no gradient through it. */
	readonly target: "input" | "residual";
	/** Whether the decoder bias is part of this reconstruction; never of one of the residual. */
	readonly bias: boolean;
	/**
	 * `sum`: mean over rows of the squared error summed over dimensions.
	 * `variance`: summed squared error over the residual's summed variance about its batch mean.
	 */
	readonly reduction: "sum" | "variance";
	readonly weight: number;
}

/** What core needs to train: a linear encoder, a selection per term, ReLU on what is selected, a linear decoder. */
export interface TrainingSpec {
	readonly parameters: readonly ParameterSpec[];
	/** Whether the encoder sees x − b_dec. */
	readonly apply_b_dec_to_input: boolean;
	readonly loss: readonly [LossTerm, ...LossTerm[]];
}

/** What core needs to encode: how rows of pre-activations become codes. */
export interface InferenceSpec {
	readonly select: Selection;
}

export interface Architecture<Options = unknown> {
	/** The description to train, for these options. */
	training(options: Options, shape: { d_in: number; d_sae: number }): TrainingSpec;
	/** Settings that the finished SAE carries, e.g. `{ k: 32 }`. */
	settings(options: Options): SaeModel["settings"];
	/** How a finished SAE encodes. `override` comes from the command line (`--k`). */
	inference(model: SaeModel, override: { k?: number }): InferenceSpec;
}
