/**
 * Signed TopK: keeps the k pre-activations of each row that are farthest from 0, with their sign, so that one latent
 * stands for a concept and its opposite (Zhu et al. 2025, "AbsTopK: rethinking sparse autoencoders for bidirectional
 * features").
 */
import { definePlugin } from "saeflow";
import { type Budgeted, budgetOptions, keptK, kOption } from "./shared/budget.ts";
import { auxK, farthest, reconstruction, unitParameters } from "./shared/terms.ts";

export default definePlugin({
	name: "signed-topk",
	apiVersion: 1,
	contributes(core) {
		return [
			{
				kind: "architecture",
				name: "signed-topk",
				summary: "keeps the k latents of each row that are farthest from 0, with their sign (AbsTopK)",
				options: core.z.object({ k: kOption(core), ...budgetOptions(core) }),
				training(o: Budgeted, { d_out }) {
					const { select, activation } = farthest(o.k);
					return {
						parameters: unitParameters(o.pre_bias),
						apply_b_dec_to_input: true,
						loss: [reconstruction(select, { activation }), ...auxK(o, d_out, true)],
					};
				},
				settings: ({ k }: Budgeted) => ({ k }),
				inference: (model, { k }) => farthest(keptK(core, model, k)),
			},
		];
	},
});
