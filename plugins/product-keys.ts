/**
 * TopK over product keys (Lample et al. 2019): every latent is a pair of keys, and its pre-activation the sum of
 * theirs. d_sae latents cost an encoder of 2·√d_sae rows, so that very wide SAEs are cheap to encode with.
 */
import { definePlugin, type ParameterSpec } from "saeflow";
import { keptK } from "./shared/budget.ts";
import { type AuxK, auxK, auxKOptions, reconstruction, unitParameters } from "./shared/terms.ts";

interface Options extends AuxK {
	readonly k: number;
}

export default definePlugin({
	name: "product-keys",
	apiVersion: 1,
	contributes(core) {
		const { z, usageError } = core;
		const options = z.object({
			// Of k keys of either half, all k² pairs are looked at.
			k: z.int().min(1).max(128).default(32).describe("Latents kept per row"),
			...auxKOptions(core),
		});
		return [
			{
				kind: "architecture",
				name: "product-keys",
				summary: "TopK whose latents are pairs of keys: a wide dictionary with a cheap encoder",
				options,
				training(o: Options, { d_out, d_sae }) {
					const keys = Math.sqrt(d_sae);
					if (!Number.isInteger(keys)) {
						const [less, more] = [Math.floor(keys) ** 2, Math.ceil(keys) ** 2];
						throw usageError(`product keys need a square d_sae, ${less} or ${more} instead of ${d_sae}`);
					}
					return {
						parameters: unitParameters("geometric_median").map((parameter) => ofKeys(parameter, 2 * keys)),
						apply_b_dec_to_input: true,
						loss: [reconstruction({ kind: "product_keys", k: o.k }), ...auxK(o, d_out)],
					};
				},
				settings: ({ k }: Options) => ({ k }),
				inference: (model, { k }) => ({ select: { kind: "product_keys", k: keptK(core, model, k) } }),
			},
		];
	},
});

/** The encoder's parameters have a row for each key, in directions of their own: no latent's decoder row is a key's. */
function ofKeys(parameter: ParameterSpec, keys: number): ParameterSpec {
	if (parameter.name === "W_enc")
		return { ...parameter, shape: [keys, "d_in"], init: { kind: "random_rows" } };
	return parameter.name === "b_enc" ? { ...parameter, shape: [keys] } : parameter;
}
