/** What both forms say about a latent, by the same names. */
import type { Feature, SaeModel } from "saeflow";

/** A latent with its explanation, if the stream has one, and its decoder row. */
export interface Exported {
	readonly feature: Feature;
	readonly explanation: string | null;
	/** Further columns of the explanation, e.g. scores. */
	readonly notes: Readonly<Record<string, number | string>>;
	readonly decoder: Float32Array;
	readonly withVector: boolean;
}

/** Entries of the decoder row that are shown. */
const ALIGNED = 3;

/** Six significant digits, as float32 has them, keep files small. */
export function rounded(value: number): number {
	return Number(value.toPrecision(6));
}

/** Statistics by Neuronpedia's names. What a features stream does not have is empty. */
export function statistics({ feature, decoder }: Exported) {
	const { histogram, top_logits, bottom_logits } = feature;
	const { start, width, counts } = histogram;
	return {
		...alignment(decoder),
		correlated_neurons_indices: [],
		correlated_neurons_pearson: [],
		correlated_neurons_l1: [],
		correlated_features_indices: [],
		correlated_features_pearson: [],
		correlated_features_l1: [],
		neg_str: bottom_logits.map(textOf),
		neg_values: bottom_logits.map(({ logit }) => rounded(logit)),
		pos_str: top_logits.map(textOf),
		pos_values: top_logits.map(({ logit }) => rounded(logit)),
		frac_nonzero: feature.density,
		freq_hist_data_bar_values: Array.from(counts, (_, i) => rounded(start + (i + 0.5) * width)),
		freq_hist_data_bar_heights: Array.from(counts),
		logits_hist_data_bar_heights: [],
		logits_hist_data_bar_values: [],
		decoder_weights_dist: [],
	};
}

function textOf({ token, text }: { readonly token: number; readonly text: string }): string {
	return text === "" ? `token ${token}` : text;
}

/** The largest entries of the decoder row, and their shares of its L1 norm. */
function alignment(decoder: Float32Array) {
	const largest = [...decoder.keys()].sort((a, b) => decoder[b]! - decoder[a]!).slice(0, ALIGNED);
	const norm = decoder.reduce((sum, value) => sum + Math.abs(value), 0);
	return {
		neuron_alignment_indices: largest,
		neuron_alignment_values: largest.map((i) => rounded(decoder[i]!)),
		neuron_alignment_l1: largest.map((i) => (norm > 0 ? rounded(Math.abs(decoder[i]!) / norm) : 0)),
	};
}

/** The decoder row of a latent. */
export function decoderRow({ tensors, d_sae }: SaeModel, latent: number): Float32Array {
	const { data } = tensors.W_dec!;
	const width = data.length / d_sae;
	return data.subarray(latent * width, (latent + 1) * width);
}
