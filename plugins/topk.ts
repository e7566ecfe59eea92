/**
 * TopK: keep the k largest pre-activations of each row (Gao et al. 2024, "Scaling and evaluating sparse
 * autoencoders"; k-sparse autoencoders, Makhzani & Frey 2013). AuxK revives latents that stopped firing; Multi-TopK
 * adds a second reconstruction with more latents, so that the SAE also works with another k than it was trained for.
 */
import { definePlugin, type LossTerm, type Schedule } from "saeflow";

export default definePlugin({
	name: "topk",
	apiVersion: 1,
	contributes: ({ z, SaeError, EXIT }) => {
		const options = z.object({
			k: z.int().min(1).max(512).default(32).describe("Latents kept per row"),
			k_start: z
				.int()
				.min(1)
				.max(512)
				.optional()
				.describe("Begin with this k and shrink (or grow) linearly to --k"),
			k_anneal: z
				.number()
				.min(0)
				.max(1)
				.default(0.5)
				.describe("Share of the run after which k has its final value; only with --k-start"),
			aux_weight: z
				.number()
				.min(0)
				.default(1 / 32)
				.describe("Weight of the AuxK loss, which revives dead latents; 0 turns it off"),
			k_aux: z
				.int()
				.min(1)
				.max(512)
				.optional()
				.describe("Dead latents that AuxK uses per row; half of d_in unless given"),
			multi_topk: z
				.number()
				.min(0)
				.default(0)
				.describe("Weight of a second reconstruction with 4·k latents; 0.125 in the paper"),
			pre_bias: z
				.enum(["geometric_median", "mean", "zeros"])
				.default("geometric_median")
				.describe("Where b_dec starts"),
		});
		type Options = typeof options._output;

		const finalK = (o: Options): Schedule =>
			o.k_start === undefined ? o.k : { from: o.k_start, to: o.k, until: o.k_anneal };
		const reconstruction = (name: string, k: Schedule, weight: number): LossTerm => ({
			name,
			latents: "all",
			select: { kind: "topk", k },
			target: "data",
			bias: true,
			reduction: "sum",
			weight,
		});

		return [
			{
				kind: "architecture",
				name: "topk",
				summary: "keeps the k largest pre-activations of each row; AuxK revives dead latents",
				options,
				training: (o: Options, { d_in, d_sae }) => ({
					parameters: [
						{
							name: "W_dec",
							shape: ["d_sae", "d_out"],
							init: { kind: "random_rows" },
							constraint: "unit_rows",
						},
						{ name: "W_enc", shape: ["d_sae", "d_in"], init: { kind: "copy", of: "W_dec", scale: 1 } },
						{ name: "b_enc", shape: ["d_sae"], init: { kind: "constant" } },
						{
							name: "b_dec",
							shape: ["d_out"],
							init:
								o.pre_bias === "zeros" ? { kind: "constant" } : { kind: "data_centre", method: o.pre_bias },
						},
					],
					apply_b_dec_to_input: true,
					loss: [
						reconstruction("reconstruction", finalK(o), 1),
						...(o.multi_topk > 0
							? [reconstruction("multi", Math.min(4 * o.k, 512, d_sae), o.multi_topk)]
							: []),
						...(o.aux_weight > 0
							? [
									{
										name: "auxk",
										latents: "dead",
										select: { kind: "topk", k: o.k_aux ?? Math.min(512, Math.max(1, Math.floor(d_in / 2))) },
										target: "residual",
										bias: false,
										reduction: "variance",
										weight: o.aux_weight,
									} as const,
								]
							: []),
					],
				}),
				settings: ({ k }: Options) => ({ k }),
				inference(model, override) {
					const k = override.k ?? model.settings.k;
					if (typeof k !== "number" || !Number.isInteger(k) || k < 1) {
						throw new SaeError(`a topk SAE needs a whole k of at least 1, got ${k}`, EXIT.data);
					}
					return { select: { kind: "topk", k } };
				},
			},
		];
	},
});
