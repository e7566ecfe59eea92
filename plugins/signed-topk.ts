/**
 * Signed TopK: keeps the k pre-activations of each row that are farthest from 0, with their sign, so that one latent
 * stands for a concept and its opposite (Zhu et al. 2025, "AbsTopK: rethinking sparse autoencoders for bidirectional
 * features").
 */
import { definePlugin } from "saeflow";
import {
	type AuxK,
	auxK,
	auxKOptions,
	farthest,
	type PreBias,
	preBiasOption,
	reconstruction,
	unitParameters,
} from "./shared/terms.ts";

interface Options extends AuxK {
	readonly k: number;
	readonly pre_bias: PreBias;
}

export default definePlugin({
	name: "signed-topk",
	apiVersion: 1,
	contributes(core) {
		const options = core.z.object({
			k: core.z.int().min(1).max(512).default(32).describe("Latents kept per row"),
			...auxKOptions(core),
			pre_bias: preBiasOption(core),
		});
		return [
			{
				kind: "architecture",
				name: "signed-topk",
				summary: "keeps the k latents of each row that are farthest from 0, with their sign (AbsTopK)",
				options,
				training(o: Options, { d_out }) {
					const { select, activation } = farthest(o.k);
					return {
						parameters: unitParameters(o.pre_bias),
						apply_b_dec_to_input: true,
						loss: [reconstruction(select, { activation }), ...auxK(o, d_out, true)],
					};
				},
				settings: ({ k }: Options) => ({ k }),
				inference: ({ settings }, { k }) => farthest(k ?? Number(settings.k)),
			},
		];
	},
});
