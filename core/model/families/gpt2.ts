/** GPT-2: learned positions, LayerNorm, one matrix for queries, keys and values, stored [in, out]. */
import { z } from "zod";
import type { Linear, ModelSpec } from "../spec.ts";
import { activation, eachLayer, family, layerCount, share, size, specials, specialTokens } from "./shared.ts";

const config = z.object({
	vocab_size: size,
	n_positions: size,
	n_embd: size,
	n_layer: layerCount,
	n_head: size,
	n_inner: size.nullish(),
	activation_function: activation.prefault("gelu_new"),
	layer_norm_epsilon: z.number().positive().default(1e-5),
	scale_attn_weights: z.boolean().default(true),
	scale_attn_by_inverse_layer_idx: z.boolean().default(false),
	add_cross_attention: z.literal(false, "cross-attention can't be computed").default(false),
	tie_word_embeddings: z.boolean().default(true),
	...specialTokens,
});

function describe(config: GptTwo): ModelSpec {
	const { n_embd: d_model, n_head: heads, vocab_size: vocab } = config;
	const d_mlp = config.n_inner ?? 4 * d_model;
	const d_head = share(d_model, heads, "n_embd");
	return {
		family: "gpt2",
		d_model,
		d_head,
		heads,
		kvHeads: heads,
		d_mlp,
		vocab,
		context: config.n_positions,
		...specials(config),
		prefix: "transformer.",
		embed: { tokens: "transformer.wte.weight", positions: "transformer.wpe.weight", scale: 1 },
		rope: undefined,
		norm: { kind: "layer", eps: config.layer_norm_epsilon, plusOne: false },
		scoreCap: 0,
		activation: config.activation_function,
		parallel: false,
		layers: eachLayer(config.n_layer, (l) => {
			const layer = `transformer.h.${l}`;
			const linear = (name: string, d_in: number, d_out: number, first?: number): Linear => ({
				weight: `${layer}.${name}.weight`,
				bias: `${layer}.${name}.bias`,
				transposed: true,
				d_in,
				d_out,
				...(first === undefined
					? {}
					: { part: { of: 3 * d_model, ranges: [{ start: first, count: d_out }] } }),
			});
			const norm = (name: string) => ({
				weight: `${layer}.${name}.weight`,
				bias: `${layer}.${name}.bias`,
			});
			const scale = config.scale_attn_weights ? d_head ** -0.5 : 1;
			return {
				ln1: norm("ln_1"),
				q: linear("attn.c_attn", d_model, d_model, 0),
				k: linear("attn.c_attn", d_model, d_model, d_model),
				v: linear("attn.c_attn", d_model, d_model, 2 * d_model),
				o: linear("attn.c_proj", d_model, d_model),
				ln2: norm("ln_2"),
				up: linear("mlp.c_fc", d_model, d_mlp),
				down: linear("mlp.c_proj", d_mlp, d_model),
				scale: config.scale_attn_by_inverse_layer_idx ? scale / (l + 1) : scale,
				window: 0,
			};
		}),
		finalNorm: { weight: "transformer.ln_f.weight", bias: "transformer.ln_f.bias" },
		unembed: {
			weight: config.tie_word_embeddings ? "transformer.wte.weight" : "lm_head.weight",
			d_in: d_model,
			d_out: vocab,
		},
		logitCap: 0,
		modules: {
			layers: "transformer.h",
			inLayer: {
				"": "hook_resid_post",
				ln_1: "ln1.out",
				attn: "hook_attn_out",
				"attn.c_proj": "hook_attn_out",
				ln_2: "ln2.out",
				mlp: "hook_mlp_out",
				"mlp.c_fc": "mlp.hook_pre",
				"mlp.act": "mlp.hook_post",
				"mlp.c_proj": "hook_mlp_out",
			},
			outside: {
				"transformer.wte": "hook_embed",
				"transformer.wpe": "hook_pos_embed",
				"transformer.ln_f": "ln_final.out",
			},
		},
	};
}

type GptTwo = z.infer<typeof config>;

export const gpt2 = family(config, describe);
