/**
 * TopK: keep the k largest pre-activations of each row (Gao et al. 2024, "Scaling and evaluating sparse
 * autoencoders"; k-sparse autoencoders, Makhzani & Frey 2013). AuxK revives latents that stopped firing; Multi-TopK
 * adds a second reconstruction with more latents, so that the SAE also works with another k than it was trained for.
 */
import { definePlugin, type Schedule } from "saeflow";
import { type Budgeted, budgetOptions, kOption, topkInference } from "./shared/budget.ts";
import { auxK, reconstruction, unitParameters } from "./shared/terms.ts";

interface Options extends Budgeted {
	readonly k_start?: number | undefined;
	readonly k_anneal: number;
	readonly multi_topk: number;
}

export default definePlugin({
	name: "topk",
	apiVersion: 1,
	contributes(core) {
		const { z } = core;
		const options = z.object({
			k: kOption(core),
			k_start: z.int().min(1).optional().describe("Begin with this k and shrink (or grow) linearly to --k"),
			k_anneal: z
				.number()
				.min(0)
				.max(1)
				.default(0.5)
				.describe("Share of the run after which k has its final value; only with --k-start"),
			multi_topk: z
				.number()
				.min(0)
				.default(0)
				.describe("Weight of a second reconstruction with 4·k latents; 0.125 in the paper"),
			...budgetOptions(core),
		});

		const finalK = (o: Options): Schedule =>
			o.k_start === undefined ? o.k : { from: o.k_start, to: o.k, until: o.k_anneal };

		const multi = (k: number, weight: number) =>
			reconstruction({ kind: "topk", k }, { name: "multi", weight });

		return [
			{
				kind: "architecture",
				name: "topk",
				summary: "keeps the k largest pre-activations of each row; AuxK revives dead latents",
				options,
				training: (o: Options, { d_out, d_sae }) => ({
					parameters: unitParameters(o.pre_bias),
					apply_b_dec_to_input: true,
					loss: [
						reconstruction({ kind: "topk", k: finalK(o) }),
						...(o.multi_topk > 0 ? [multi(Math.min(4 * o.k, 512, d_sae), o.multi_topk)] : []),
						...auxK(o, d_out),
					],
				}),
				settings: ({ k }: Options) => ({ k }),
				inference: topkInference(core),
			},
		];
	},
});
