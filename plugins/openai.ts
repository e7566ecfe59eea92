/**
 * Files of OpenAI's sparse_autoencoder: a state dict saved by PyTorch, with the activation's name and k beside its
 * tensors. A TopK one normalises every row by its own mean and deviation, which stays a declared step. Source:
 * openai/sparse_autoencoder, model.py.
 */
import { type Core, definePlugin, type SaeModel } from "saeflow";
import { arrayNames, checked, weightReader, withFile } from "./shared/weights.ts";

const NAMES = ["pre_bias", "latent_bias", "encoder.weight", "decoder.weight"];

export default definePlugin({
	name: "openai",
	apiVersion: 1,
	contributes(core) {
		return [
			{
				kind: "importer",
				name: "openai",
				summary: "single .pt files of OpenAI's sparse_autoencoder, TopK and ReLU",
				options: core.z.object({}),
				async detect(path: string) {
					const names = await arrayNames(core, path);
					return NAMES.every((name) => names?.includes(name));
				},
				read: (path: string) => read(core, path),
			},
		];
	},
});

async function read(core: Core, path: string): Promise<SaeModel> {
	return withFile(core.openTorch(path), async (file) => {
		const { z } = core;
		const schema = z.discriminatedUnion("activation", [
			z.object({ activation: z.literal("ReLU") }),
			z.object({
				activation: z.literal("TopK"),
				activation_state_dict: z.object({ k: z.int().min(1), postact_fn: z.literal("ReLU").default("ReLU") }),
			}),
		]);
		const said = checked(core, schema, plain(file.root), path);
		const weights = weightReader(core, file);
		const [d_sae, d_in] = weights.matrix("encoder.weight");
		weights.skip("stats_last_nonzero", "latents_activation_frequency", "latents_mean_square");
		const tensors = {
			W_enc: await weights.takeTransposed("encoder.weight", [d_sae, d_in]),
			b_enc: await weights.take("latent_bias", [d_sae]),
			W_dec: await weights.takeTransposed("decoder.weight", [d_in, d_sae]),
			b_dec: await weights.take("pre_bias", [d_in]),
		};
		weights.finish("an Autoencoder of OpenAI's");
		const topk = said.activation === "TopK";
		return {
			architecture: topk ? "topk" : "standard",
			d_in,
			d_sae,
			apply_b_dec_to_input: true,
			normalize_activations: topk ? "layer_norm" : "none",
			settings: topk ? { k: said.activation_state_dict.k } : {},
			metadata: {},
			tensors,
		};
	});
}

/** Maps as objects; what is no plain value is left to the schema. */
function plain(value: unknown): unknown {
	if (!(value instanceof Map)) return value;
	return Object.fromEntries([...value].map(([key, item]) => [String(key), plain(item)]));
}
