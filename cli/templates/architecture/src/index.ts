/**
 * The architecture NAME. It keeps the k largest pre-activations of each row; latents that stopped firing learn to
 * explain what the others leave over. A description of what it is, which saeflow compiles for the GPU: change here what
 * makes yours another one.
 */
import type { LossTerm, Plugin } from "saeflow";

export default {
	name: "NAME",
	apiVersion: 1,
	contributes({ z, usageError }) {
		const options = z.object({
			k: z.int().min(1).max(512).default(32).describe("Latents kept per row"),
			aux_weight: z.number().min(0).default(0.03).describe("Weight of the loss that revives dead latents"),
		});
		type Options = ReturnType<typeof options.parse>;

		return [
			{
				kind: "architecture",
				name: "NAME",
				summary: "keeps the k largest pre-activations of each row",
				options,
				training({ k, aux_weight }: Options, { d_in, d_sae }) {
					if (k > d_sae) throw usageError(`--k ${k} is more than the ${d_sae} latents of --d-sae`);
					const reconstruction: LossTerm = {
						name: "reconstruction",
						latents: "all",
						select: { kind: "topk", k },
						target: "data",
						bias: true,
						reduction: "sum",
						weight: 1,
					};
					const revival: LossTerm = {
						name: "revival",
						latents: "dead",
						select: { kind: "topk", k: Math.min(512, Math.ceil(d_in / 2), d_sae) },
						target: "residual",
						bias: false,
						reduction: "variance",
						weight: aux_weight,
					};
					return {
						parameters: [
							{
								name: "W_dec",
								shape: ["d_sae", "d_out"],
								init: { kind: "random_rows" },
								constraint: "unit_rows",
							},
							{ name: "W_enc", shape: ["d_sae", "d_in"], init: { kind: "copy", of: "W_dec", scale: 1 } },
							{ name: "b_enc", shape: ["d_sae"], init: { kind: "constant" } },
							{ name: "b_dec", shape: ["d_out"], init: { kind: "data_centre", method: "mean" } },
						],
						apply_b_dec_to_input: true,
						loss: aux_weight > 0 ? [reconstruction, revival] : [reconstruction],
					};
				},
				settings: ({ k }: Options) => ({ k }),
				// Once trained it encodes as topk does; under that name SAELens reads it, and needs no plugin.
				finish: (model) => ({ ...model, architecture: "topk" }),
				inference: ({ settings }, { k }) => ({ select: { kind: "topk", k: k ?? Number(settings.k) } }),
			},
		];
	},
} satisfies Plugin;
