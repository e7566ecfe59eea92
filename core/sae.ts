/** A sparse autoencoder in memory: what every importer reads, every exporter writes and every command runs. */

export type FloatType = "f32" | "f16" | "bf16";

/** A named array, row-major. `data` is always float32 in memory, whatever the file held. */
export interface Tensor {
	readonly shape: readonly number[];
	readonly data: Float32Array;
}

/**
 * How the input is changed before encoding, where that is not folded into the weights (SAELens' names). Of a row x of
 * width d: `layer_norm`: (x − μ) / (σ + 1e-5) with the row's mean and unbiased standard deviation, and σ · x̂ + μ of
 * what is reconstructed; `constant_norm_rescale`: x · √d / ‖x‖, and x̂ · ‖x‖ / √d; `expected_average_only_in`: x times
 * a number for the whole data set, which the file lacks, so that such an SAE can't be run until it is folded in.
 */
export type InputNormalisation = "none" | "constant_norm_rescale" | "layer_norm" | "expected_average_only_in";

/**
 * An SAE for inference, on raw activations.
 *
 * Tensors by the field's names and shapes: `W_enc` [d_in, d_sae], `b_enc` [d_sae], `W_dec` [d_sae, d_out],
 * `b_dec` [d_out]; `W_skip` [d_out, d_in] where reconstructions have x · W_skipᵀ besides; further ones as the
 * architecture needs.
 */
export interface SaeModel {
	readonly architecture: string;
	readonly d_in: number;
	/** Width of the reconstruction, where it is another than d_in. */
	readonly d_out?: number | undefined;
	readonly d_sae: number;
	readonly apply_b_dec_to_input: boolean;
	readonly normalize_activations: InputNormalisation;
	/** What the architecture needs besides tensors, e.g. `{ k: 32 }`. */
	readonly settings: Readonly<Record<string, number | string | boolean>>;
	/** Free-form provenance: model, hook point, the command, training figures. */
	readonly metadata: Readonly<Record<string, unknown>>;
	readonly tensors: Readonly<Record<string, Tensor>>;
}

/** Whether reconstructions are made of the inputs too, and not of codes alone. */
export function needsInputs({
	tensors,
	normalize_activations,
}: Pick<SaeModel, "tensors" | "normalize_activations">): boolean {
	return tensors.W_skip !== undefined || normalize_activations !== "none";
}

/** Sparse codes of `rows` rows (CSR): row r holds entries offsets[r] to offsets[r + 1], by ascending index. */
export interface Codes {
	readonly rows: number;
	readonly offsets: Uint32Array;
	readonly index: Uint32Array;
	readonly value: Float32Array;
}
