/**
 * MSAE (Zaigrajew et al. 2025, "Interpreting CLIP with hierarchical sparse autoencoders"): Matryoshka by sparsity. The
 * same latents reconstruct the data at several levels, from the row's k, 2k, 4k, … largest codes up to all positive
 * ones, so that one SAE works with any k. No latents are held back, and nothing revives dead ones: the last level
 * trains every latent that is positive.
 */
import { definePlugin } from "saeflow";
import { kOption, topkInference } from "./shared/budget.ts";
import { type PreBias, preBiasOption, reconstruction, unitParameters } from "./shared/terms.ts";

interface Options {
	readonly k: number;
	readonly level_weights: "uniform" | "reversed";
	readonly pre_bias: PreBias;
}

/** k, 2k, 4k, … and d_sae. */
export function levels(k: number, d_sae: number): number[] {
	const sizes: number[] = [];
	for (let level = k; level < d_sae; level *= 2) sizes.push(level);
	return [...sizes, d_sae];
}

/** Scaled to a sum of 1. `reversed`: of h levels, h for the sparsest, down to 1 for all codes. */
export function levelWeights(kind: Options["level_weights"], count: number): number[] {
	const weights = Array.from({ length: count }, (_, i) => (kind === "uniform" ? 1 : count - i));
	const sum = weights.reduce((a, b) => a + b);
	return weights.map((weight) => weight / sum);
}

export default definePlugin({
	name: "msae",
	apiVersion: 1,
	contributes(core) {
		const { z } = core;
		const options = z.object({
			k: kOption(core, "Codes of the sparsest level, which doubles up to all; kept by default"),
			level_weights: z
				.enum(["uniform", "reversed"])
				.default("reversed")
				.describe("Weights of the levels: the same for all, or the most for the sparsest"),
			pre_bias: preBiasOption(core),
		});
		return [
			{
				kind: "architecture",
				name: "msae",
				summary: "reconstructs from k, 2k, 4k, … codes at once, so that any k works afterwards",
				options,
				training(o: Options, { d_in, d_sae }) {
					const sizes = levels(o.k, d_sae);
					const nested = { by: "rank", sizes, weights: levelWeights(o.level_weights, sizes.length) } as const;
					return {
						// With half of the codes positive, the whole reconstruction then begins at the data's size.
						parameters: unitParameters(o.pre_bias, Math.min(1, (2 * d_in) / d_sae)),
						apply_b_dec_to_input: true,
						loss: [reconstruction({ kind: "topk", k: d_sae }, { nested })],
					};
				},
				settings: ({ k }: Options) => ({ k }),
				finish: (model) => ({ ...model, architecture: "topk" }),
				inference: topkInference(core),
			},
		];
	},
});
