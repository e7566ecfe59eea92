/**
 * TopK over product keys (Lample et al. 2019): every latent is a pair of keys, and its pre-activation the sum of
 * theirs. d_sae latents cost an encoder of 2·√d_sae rows, so that very wide SAEs are cheap to encode with.
 */
import { definePlugin } from "saeflow";

export default definePlugin({
	name: "product-keys",
	apiVersion: 1,
	contributes: ({ z, SaeError, EXIT, usageError }) => {
		const options = z.object({
			k: z.int().min(1).max(128).default(32).describe("Latents kept per row"),
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
		});
		type Options = typeof options._output;
		return [
			{
				kind: "architecture",
				name: "product-keys",
				summary: "TopK whose latents are pairs of keys: a wide dictionary with a cheap encoder",
				options,
				training({ k, aux_weight, k_aux }: Options, { d_in, d_sae }) {
					const keys = Math.sqrt(d_sae);
					if (!Number.isInteger(keys)) {
						const [less, more] = [Math.floor(keys) ** 2, Math.ceil(keys) ** 2];
						throw usageError(`product keys need a square d_sae, ${less} or ${more} instead of ${d_sae}`);
					}
					const zeros = { kind: "constant" } as const;
					return {
						parameters: [
							{
								name: "W_dec",
								shape: ["d_sae", "d_out"],
								init: { kind: "random_rows" },
								constraint: "unit_rows",
							},
							{ name: "W_enc", shape: [2 * keys, "d_in"], init: { kind: "random_rows" } },
							{ name: "b_enc", shape: [2 * keys], init: zeros },
							{ name: "b_dec", shape: ["d_out"], init: { kind: "data_centre", method: "geometric_median" } },
						],
						apply_b_dec_to_input: true,
						loss: [
							{
								name: "reconstruction",
								latents: "all",
								select: { kind: "product_keys", k },
								target: "data",
								bias: true,
								reduction: "sum",
								weight: 1,
							},
							...(aux_weight > 0
								? [
										{
											name: "auxk",
											latents: "dead",
											select: { kind: "topk", k: k_aux ?? Math.min(512, Math.max(1, Math.floor(d_in / 2))) },
											target: "residual",
											bias: false,
											reduction: "variance",
											weight: aux_weight,
										} as const,
									]
								: []),
						],
					};
				},
				settings: ({ k }: Options) => ({ k }),
				inference({ settings }, override) {
					const k = override.k ?? settings.k;
					if (typeof k !== "number" || !Number.isInteger(k) || k < 1) {
						throw new SaeError(`a product-keys SAE needs a whole k of at least 1, got ${k}`, EXIT.data);
					}
					return { select: { kind: "product_keys", k } };
				},
			},
		];
	},
});
