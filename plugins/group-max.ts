/**
 * GroupMax: latents lie in k equal groups, and the largest of each group is kept where it is positive (EleutherAI's
 * sparsify). No sorting, and never more than k codes; a group's latents exclude each other.
 */
import { definePlugin } from "saeflow";
import { type Budgeted, budgetOptions, keptK, kOption } from "./shared/budget.ts";
import { auxK, reconstruction, unitParameters } from "./shared/terms.ts";

export default definePlugin({
	name: "group-max",
	apiVersion: 1,
	contributes(core) {
		const { z, SaeError, usageError, EXIT } = core;
		const k = kOption(core, "Groups, each of which keeps one latent per row; must divide d_sae");
		return [
			{
				kind: "architecture",
				name: "groupmax",
				summary: "keeps the largest latent of each of k groups",
				options: z.object({ k, ...budgetOptions(core) }),
				training(o: Budgeted, { d_out, d_sae }) {
					if (d_sae % o.k !== 0) throw usageError(`--k ${o.k}: does not divide d_sae, which is ${d_sae}`);
					return {
						parameters: unitParameters(o.pre_bias),
						apply_b_dec_to_input: true,
						loss: [reconstruction({ kind: "group_max", groups: o.k }), ...auxK(o, d_out)],
					};
				},
				settings: ({ k }: Budgeted) => ({ k }),
				inference(model, { k }) {
					const { d_sae } = model;
					const groups = keptK(core, model);
					if (k !== undefined && k !== groups) {
						throw usageError(`--k: a groupmax SAE keeps one latent of each of its ${groups} groups`);
					}
					if (d_sae % groups !== 0) {
						throw new SaeError(`${d_sae} latents can't be cut into ${groups} equal groups`, EXIT.data);
					}
					return { select: { kind: "group_max", groups } };
				},
			},
		];
	},
});
