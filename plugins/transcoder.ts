/**
 * Transcoders (Dunefsky et al. 2024, "Transcoders find interpretable LLM feature circuits"): an SAE whose targets are
 * others than its inputs, as a rule what an MLP makes of them. Codes are TopK's, and everything starts as in EleutherAI's
 * sparsify: W_dec at zeros, b_dec at the targets' mean, b_enc such that pre-activations lie around 0. Decoder rows have any
 * norm. With --skip it is a skip transcoder (Paulo et al. 2025, "Transcoders beat sparse autoencoders for
 * interpretability"): a linear map from inputs to targets, which starts at zeros, explains what it can, and codes the rest.
 */
import { definePlugin, type SaeModel } from "saeflow";
import { kOption } from "./shared/budget.ts";
import { type AuxK, auxK, auxKOptions, reconstruction } from "./shared/terms.ts";
import { thresholdInference, thresholdsOf } from "./shared/thresholds.ts";

interface Options extends AuxK {
	readonly k: number;
	readonly select: "topk" | "batchtopk";
	readonly skip: boolean;
}

export default definePlugin({
	name: "transcoder",
	apiVersion: 1,
	contributes(core) {
		const { z } = core;
		const options = z.object({
			k: kOption(core),
			select: z
				.enum(["topk", "batchtopk"])
				.default("topk")
				.describe("Whether every row keeps k, or rows do so on average, and by a threshold afterwards"),
			skip: z
				.boolean()
				.default(false)
				.describe("Also learn a linear map from inputs to targets (W_skip), which leaves codes the rest"),
			...auxKOptions(core),
		});
		return [
			{
				kind: "architecture",
				name: "transcoder",
				summary: "predicts one column of vectors from another, e.g. what an MLP makes of its input",
				options,
				training: (o: Options, { d_out }) => ({
					parameters: [
						{ name: "W_dec", shape: ["d_sae", "d_out"], init: { kind: "constant" } },
						{ name: "W_enc", shape: ["d_sae", "d_in"], init: { kind: "random_rows" } },
						{ name: "b_enc", shape: ["d_sae"], init: { kind: "firing_rate", rate: 0.5, threshold: 0 } },
						{ name: "b_dec", shape: ["d_out"], init: { kind: "data_centre", method: "mean" } },
						...(o.skip
							? [{ name: "W_skip", shape: ["d_out", "d_in"], init: { kind: "constant" } } as const]
							: []),
					],
					apply_b_dec_to_input: false,
					loss: [
						reconstruction({ kind: o.select === "topk" ? "topk" : "batch_topk", k: o.k }),
						...auxK(o, d_out),
					],
				}),
				settings: ({ k, select }: Options) => (select === "topk" ? { k } : {}),
				finish: (model): SaeModel =>
					model.tensors.threshold
						? { ...model, tensors: { ...model.tensors, threshold: thresholdsOf(core, model) } }
						: model,
				// SAELens' own transcoders have neither a k nor, as a rule, thresholds.
				inference({ settings, tensors }, override) {
					const k = override.k ?? settings.k;
					if (typeof k === "number" || tensors.threshold) return thresholdInference(k as number | undefined);
					return { select: { kind: "all" } };
				},
			},
		];
	},
});
