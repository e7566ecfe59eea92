/**
 * SAEs of OpenMOSS: Llama Scope (`hyperparams.json` and `checkpoints/final.safetensors`), its R1 edition, and what its
 * library llamascopium saves (`config.json` and `sae_weights.safetensors`).
 */
import { join } from "node:path";
import { type Core, definePlugin, type SaeModel } from "saeflow";
import { readLlamascopium } from "./llama-scope/llamascopium.ts";
import { checked, filled, isFile, peekJson, readJson, weightReader, withFile } from "./shared/weights.ts";

const HYPERPARAMS = "hyperparams.json";
const FINAL = join("checkpoints", "final.safetensors");
const CONFIG = "config.json";
const WEIGHTS = "sae_weights.safetensors";

export default definePlugin({
	name: "llama-scope",
	apiVersion: 1,
	contributes(core) {
		return [
			{
				kind: "importer",
				name: "llama-scope",
				summary: `folders of Llama Scope (${HYPERPARAMS} and ${FINAL})`,
				options: core.z.object({}),
				detect: async (path: string) =>
					(await isFile(join(path, FINAL))) || (await peekJson(join(path, HYPERPARAMS)))?.d_sae !== undefined,
				read: (path: string) => read(core, path),
			},
			{
				kind: "importer",
				name: "llamascopium",
				summary: `folders of OpenMOSS' library and of Llama Scope R1 (${CONFIG} and ${WEIGHTS})`,
				options: core.z.object({}),
				detect: async (path: string) =>
					(await peekJson(join(path, CONFIG)))?.d_model !== undefined &&
					!(await isFile(join(path, "cfg.json"))),
				read: (path: string) => readLlamascopium(core, join(path, CONFIG), join(path, WEIGHTS)),
			},
		];
	},
});

/** As the library prepared such SAEs for use: in raw units, with unit decoder rows, and only then cut off. */
async function read(core: Core, path: string): Promise<SaeModel> {
	const { z } = core;
	const schema = z.object({
		d_model: z.int().min(1),
		d_sae: z.int().min(1),
		// A topk SAE with a threshold was turned into one of that threshold.
		act_fn: z.enum(["jumprelu", "topk"]),
		jump_relu_threshold: z.number().positive(),
		norm_activation: z.enum(["dataset-wise", "inference"]),
		dataset_average_activation_norm: z
			.object({ in: z.number().positive(), out: z.number().positive() })
			.optional(),
		sparsity_include_decoder_norm: z.boolean().default(true),
		use_decoder_bias: z.boolean().default(true),
		apply_decoder_bias_to_pre_encoder: z.boolean().default(false),
		hook_point_in: z.string().optional(),
		hook_point_out: z.string().optional(),
	});
	const file = join(path, HYPERPARAMS);
	const said = checked(core, schema, await readJson(core, file), file);
	const { d_model, d_sae, hook_point_in, hook_point_out, dataset_average_activation_norm: norms } = said;
	if (said.norm_activation === "dataset-wise" && !norms) {
		throw new core.SaeError(
			`${file}: field dataset_average_activation_norm is missing, by which the SAE's inputs were scaled`,
		);
	}
	const model = await withFile(core.openSafetensors(join(path, FINAL)), async (opened): Promise<SaeModel> => {
		const weights = weightReader(core, opened);
		const tensors = {
			W_enc: await weights.takeTransposed("encoder.weight", [d_sae, d_model]),
			b_enc: await weights.take("encoder.bias", [d_sae]),
			W_dec: await weights.takeTransposed("decoder.weight", [d_model, d_sae]),
			b_dec: said.use_decoder_bias ? await weights.take("decoder.bias", [d_model]) : filled(d_model, 0),
		};
		weights.finish("an SAE of Llama Scope's");
		return {
			architecture:
				hook_point_out !== undefined && hook_point_out !== hook_point_in ? "transcoder" : "jumprelu",
			d_in: d_model,
			d_sae,
			apply_b_dec_to_input: said.apply_decoder_bias_to_pre_encoder,
			normalize_activations: "none",
			settings: {},
			metadata: {
				hook_name: hook_point_in,
				...(hook_point_out === hook_point_in ? {} : { hook_name_out: hook_point_out }),
			},
			tensors,
		};
	});
	const scale = (norm: number) => Math.sqrt(d_model) / norm;
	const raw =
		norms && said.norm_activation === "dataset-wise"
			? core.foldInputAndTarget(model, scale(norms.in), scale(norms.out))
			: model;
	const unit = said.sparsity_include_decoder_norm ? core.foldDecoderNorms(raw) : raw;
	return { ...unit, tensors: { ...unit.tensors, threshold: filled(d_sae, said.jump_relu_threshold) } };
}
