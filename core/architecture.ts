/**
 * How an architecture describes itself. It says what it *is*, as plain data and a few formulas; core compiles the
 * description into GPU kernels and hands the trainer a step. An architecture never touches a kernel.
 *
 * In formulas and below: z is a latent's pre-activation, f its activation (the code), x̂ the reconstruction.
 */
import type { SaeModel, Tensor } from "./sae.ts";

/**
 * A number that may change over the run: linear from `from` to `to` while the share of the run that is done goes from
 * `begin` (0 unless given) to `until`; with `stages`, in that many equal jumps.
 */
export type Schedule =
	| number
	| {
			readonly from: number;
			readonly to: number;
			readonly begin?: number;
			readonly until: number;
			readonly stages?: number;
	  };

/** How a parameter starts. */
export type Initialisation =
	/** The same number everywhere; 0 unless given. */
	| { readonly kind: "constant"; readonly value?: number }
	/** Rows in directions drawn uniformly from the sphere, of length `norm`; 1 unless given. */
	| { readonly kind: "random_rows"; readonly norm?: number }
	/** Every number drawn uniformly from −bound to bound. */
	| { readonly kind: "uniform"; readonly bound: number }
	/** The same values as another parameter of that shape, times `scale`. */
	| { readonly kind: "copy"; readonly of: string; readonly scale: number }
	/** The centre of a sample of what is to be reconstructed. */
	| { readonly kind: "data_centre"; readonly method: "mean" | "geometric_median" }
	/** b_enc such that each latent's pre-activation passes `threshold` for this share of a sample of the data. */
	| { readonly kind: "firing_rate"; readonly rate: number; readonly threshold: number }
	/** Centres of a k-means clustering of a sample of what is to be reconstructed, one per row, seen from its mean. */
	| { readonly kind: "k_means" }
	/** Row i is 1 at column i, and 0 elsewhere; where there are fewer columns than rows, they are begun again. */
	| { readonly kind: "one_hot_rows" }
	/** Follows from other parameters: W_dec, where {@link TrainingSpec.decoder} says of which. */
	| { readonly kind: "derived" };

/** Sizes that a shape may name; a number stands for itself. */
export type Size = "d_sae" | "d_in" | "d_out" | number;

export interface ParameterSpec {
	/**
	 * `W_enc` [d_sae, d_in], `W_dec` [d_sae, d_out], `b_enc` [d_sae] and `b_dec` [d_out] are those of every SAE; others
	 * of shape [d_sae] are there for formulas, which name them. Matrices are stored with one row per latent.
	 *
	 * `W_skip` [d_out, d_in] makes a skip connection: x̂ = f · W_dec + x · W_skipᵀ + b_dec, where x is what arrives, without
	 * b_dec taken from it. It is part of every reconstruction that b_dec is part of.
	 */
	readonly name: string;
	readonly shape: readonly Size[];
	readonly init: Initialisation;
	/** `unit_rows`: the gradient loses its part along each row, and rows return to unit norm after each update. */
	readonly constraint?: "unit_rows";
}

/**
 * A WGSL expression in z, f, the [d_sae] parameters by their names, the {@link TrainingSpec.scalars} by theirs, and,
 * in penalties, `norm`, the latent's decoder norm. Numbers are f32: write 1.0, not 1.
 */
export type Formula = string;

/** From pre-activation to code, for one latent of one row. */
export interface Activation {
	/** Whether the latent has a code at all: it must hold wherever f or one of the derivatives is not 0. */
	readonly keep: Formula;
	/** f, from z. A code of 0 has gradients, but counts neither for l0 nor for being alive. */
	readonly value: Formula;
	/** ∂f/∂z. */
	readonly dz: Formula;
	/** ∂f/∂parameter, with z fixed, by the parameter's name. May be a straight-through estimate. */
	readonly d?: Readonly<Record<string, Formula>>;
}

/** f = z where z > 0. */
export const RELU: Activation = { keep: "z > 0.0", value: "z", dz: "1.0" };

/**
 * A sparsity penalty: the mean over rows of the sum of `value` over the latents that have codes, times `weight`.
 * Derivatives that are left out are 0.
 */
export interface Penalty {
	readonly value: Formula;
	readonly df?: Formula;
	/** By z itself, beside what flows through f. */
	readonly dz?: Formula;
	/** By the latent's decoder norm. */
	readonly dnorm?: Formula;
	readonly d?: Readonly<Record<string, Formula>>;
	/** Name of the scalar that weighs it. */
	readonly weight: string;
	/**
	 * Makes the penalty a function of the batch, which no tilt can weigh by rows: `s` is the mean over rows of the sum of `value`, `h` that of `beside`.
	 * The loss is weight · value(s, h), and each derivative is multiplied by slope(s, h).
	 */
	readonly batch?: { readonly value: Formula; readonly slope: Formula; readonly beside?: Formula };
}

/** Which latents of a row, or of a batch, get codes. Ties go to the lowest row, then to the lowest latent. */
export type Selection =
	/** The k largest of each row; by `magnitude`, the k farthest from 0, and codes keep their sign. */
	| { readonly kind: "topk"; readonly k: Schedule; readonly by?: "value" | "magnitude" }
	/** The k · rows largest positive ones of the whole batch. Keeps the `threshold` that stands for it at inference. */
	| { readonly kind: "batch_topk"; readonly k: Schedule }
	/**
	 * Of each latent, its largest positive ones over the batch: the latent's quota of {@link TrainingSpec.allocation}
	 * times rows, rounded up or down at random so that the mean is right. Keeps a `threshold` for every latent.
	 */
	| { readonly kind: "feature_topk" }
	/** Latents lie in `groups` equal runs; the largest of each run. */
	| { readonly kind: "group_max"; readonly groups: number }
	/** Latents are pairs (i, j) of √d_sae keys each; z is key i's plus key j's; the k largest of each row. */
	| { readonly kind: "product_keys"; readonly k: Schedule }
	/** Whatever the activation keeps. */
	| { readonly kind: "all" };

/**
 * One reconstruction in several nested parts, each part everything before it and more. Part j adds to the loss
 * weights[j] times its own error.
 */
export interface Nesting {
	/** `latent`: part j has the latents below sizes[j]. `rank`: it has each row's sizes[j] largest codes. */
	readonly by: "latent" | "rank";
	/** Ascending; the last one is d_sae. A function gives the sizes of each update, always as many as `weights`. */
	readonly sizes: readonly number[] | ((update: number) => readonly number[]);
	readonly weights: readonly number[];
}

/**
 * One term of the loss. It selects codes, decodes them and compares the result with its target. The first term's
 * codes are the SAE's own; only they count for l0 and for which latents are alive. It reconstructs the data from all.
 */
export interface LossTerm {
	readonly name: string;
	/** `dead`: only latents that have not fired for the trainer's dead threshold (or, with an allocation, that fire less than its floor). */
	readonly latents: "all" | "dead";
	readonly select: Selection;
	/** {@link RELU} unless given; of selections other than `all`, only RELU and, by magnitude, the identity. */
	readonly activation?: Activation;
	/** `residual`: what the first term leaves unexplained, data − reconstruction, with no gradient through it. */
	readonly target: "data" | "residual";
	/** Whether the decoder bias, and a skip connection, are part of this reconstruction; never of one of the residual. */
	readonly bias: boolean;
	/** Whether W_dec, b_dec and a skip connection learn from this term; they do unless told. */
	readonly decoder?: "trained" | "frozen";
	readonly nested?: Nesting;
	/**
	 * `sum`: mean over rows of the squared error summed over dimensions.
	 * `variance`: summed squared error over the residual's summed variance about its batch mean.
	 */
	readonly reduction: "sum" | "variance";
	readonly weight: number;
	readonly penalty?: Penalty;
}

/** What core needs to train. */
export interface TrainingSpec {
	readonly parameters: readonly ParameterSpec[];
	/** Whether the encoder sees x − b_dec. */
	readonly apply_b_dec_to_input: boolean;
	readonly loss: readonly [LossTerm, ...LossTerm[]];
	/** Numbers that formulas and penalties name, at most eight. */
	readonly scalars?: Readonly<Record<string, Schedule>>;
	/** The scalar that the trainer's L0 controller may multiply, to reach a wanted l0: a larger one means fewer codes. */
	readonly sparsity?: string;
	/**
	 * Pre-activation loss of dead latents (Anthropic, January 2025): `weight` · mean over rows of Σ ReLU(threshold − z) ·
	 * norm over the dead latents below their threshold, where `threshold` is a formula and the norm is held fixed.
	 */
	readonly revival?: {
		readonly weight: number;
		readonly threshold: Formula;
		readonly dthreshold: Readonly<Record<string, Formula>>;
	};
	/**
	 * How codes are shared out among latents, made anew on the host every `every` updates from each latent's firing
	 * density (codes per row, a running mean): quotas (codes per row, for `feature_topk`) and floors (densities under
	 * which a latent takes part in terms of `dead` latents).
	 */
	readonly allocation?: {
		readonly every: number;
		plan(density: Float32Array): { readonly quota?: Float32Array; readonly floor?: Float32Array };
	};
	/**
	 * W_dec is made of other parameters, and derived anew after each update. `archetypal` (Fel et al. 2025): W_dec =
	 * exp(log_scale) · (mixture · candidates + relaxation). `candidates` [n, d_out], n a number, stay as they begin; rows
	 * of `mixture` [d_sae, n] have no number below 0 and add up to 1; rows of `relaxation` [d_sae, d_out] have norms of at
	 * most `delta`; `log_scale` is [1].
	 */
	readonly decoder?: { readonly kind: "archetypal"; readonly delta: number };
	/** Blocks of equal width that W_dec's rows are made of, one per source: `norm` is then the sum of the blocks' norms. */
	readonly norm_blocks?: number;
}

/** What core needs to encode: how rows of pre-activations become codes. Formulas name the model's own tensors. */
export interface InferenceSpec {
	readonly select: Selection;
	readonly activation?: Activation;
}

export interface Sizes {
	readonly d_in: number;
	/** Width of what is reconstructed: d_in, unless the targets are others than the inputs. */
	readonly d_out: number;
	readonly d_sae: number;
}

export interface Architecture<Options = unknown> {
	/** The description to train, for these options. Throws a usage error for options that don't fit the sizes. */
	training(options: Options, sizes: Sizes): TrainingSpec;
	/** Settings that the finished SAE carries, e.g. `{ k: 32 }`. */
	settings(options: Options): SaeModel["settings"];
	/**
	 * The trained SAE as it is saved, which may be of a simpler architecture. `model` has every parameter as a tensor,
	 * and what selections keep (`threshold`). As it is, unless given.
	 */
	finish?(model: SaeModel): SaeModel;
	/** The reverse: tensors by the names of the parameters, to train a saved SAE further. Its own, unless given. */
	restore?(model: SaeModel): Readonly<Record<string, Tensor>>;
	/** How a finished SAE encodes. `override` comes from the command line (`--k`). */
	inference(model: SaeModel, override: { k?: number }): InferenceSpec;
}
