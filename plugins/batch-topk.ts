/**
 * BatchTopK (Bussmann et al. 2024, "BatchTopK sparse autoencoders"): keep the k · rows largest pre-activations of the
 * whole batch, so that rows may have more latents or fewer. AuxK revives dead latents, as for TopK.
 *
 * The smallest code of a batch is followed by a running mean, and stands for the selection afterwards: finished SAEs
 * are SAELens' `jumprelu` with that threshold for all latents, and encode each row by itself.
 */
import { definePlugin } from "saeflow";
import { type Budgeted, budgetOptions, kOption, ON_AVERAGE } from "./shared/budget.ts";
import { auxK, reconstruction, unitParameters } from "./shared/terms.ts";
import { asJumpReLU, thresholdInference } from "./shared/thresholds.ts";

export default definePlugin({
	name: "batch-topk",
	apiVersion: 1,
	contributes(core) {
		return [
			{
				kind: "architecture",
				name: "batchtopk",
				summary:
					"keeps the largest pre-activations of a batch, k per row on average; AuxK revives dead latents",
				options: core.z.object({ k: kOption(core, ON_AVERAGE), ...budgetOptions(core) }),
				training: (o: Budgeted, { d_out }) => ({
					parameters: unitParameters(o.pre_bias),
					apply_b_dec_to_input: true,
					loss: [reconstruction({ kind: "batch_topk", k: o.k }), ...auxK(o, d_out)],
				}),
				settings: () => ({}),
				finish: (model) => asJumpReLU(core, model),
				inference: (_, { k }) => thresholdInference(k),
			},
		];
	},
});
