/** GPT-NeoX (Pythia): rotary positions on part of each head, attention and MLP side by side, biases everywhere. */
import { z } from "zod";
import type { Linear, ModelSpec } from "../spec.ts";
import {
	activation,
	eachLayer,
	family,
	layerCount,
	ropeConfig,
	ropeOf,
	share,
	size,
	specials,
	specialTokens,
} from "./shared.ts";

const config = z.object({
	vocab_size: size,
	max_position_embeddings: size,
	hidden_size: size,
	num_hidden_layers: layerCount,
	num_attention_heads: size,
	intermediate_size: size,
	hidden_act: activation.prefault("gelu"),
	layer_norm_eps: z.number().positive().default(1e-5),
	use_parallel_residual: z.boolean().default(true),
	attention_bias: z.boolean().default(true),
	rotary_pct: z.number().positive().max(1).default(0.25),
	rotary_emb_base: z.number().positive().optional(),
	tie_word_embeddings: z.boolean().default(false),
	...ropeConfig,
	...specialTokens,
});

function describe(config: Neox): ModelSpec {
	const {
		hidden_size: d_model,
		num_attention_heads: heads,
		intermediate_size: d_mlp,
		vocab_size: vocab,
	} = config;
	const d_head = share(d_model, heads, "hidden_size");
	const rope = { ...config, rope_theta: config.rope_theta ?? config.rotary_emb_base };
	return {
		family: "gpt_neox",
		d_model,
		d_head,
		heads,
		kvHeads: heads,
		d_mlp,
		vocab,
		context: config.max_position_embeddings,
		...specials(config),
		prefix: "gpt_neox.",
		embed: { tokens: "gpt_neox.embed_in.weight", scale: 1 },
		rope: ropeOf(rope, d_head, config.rotary_pct),
		norm: { kind: "layer", eps: config.layer_norm_eps, plusOne: false },
		scoreCap: 0,
		activation: config.hidden_act,
		parallel: config.use_parallel_residual,
		layers: eachLayer(config.num_hidden_layers, (l) => {
			const layer = `gpt_neox.layers.${l}`;
			const linear = (name: string, d_in: number, d_out: number, bias = true): Linear => ({
				weight: `${layer}.${name}.weight`,
				bias: bias ? `${layer}.${name}.bias` : undefined,
				d_in,
				d_out,
			});
			// One head's query, key and value lie behind each other.
			const part = (which: number): Linear => ({
				...linear("attention.query_key_value", d_model, d_model, config.attention_bias),
				part: {
					of: 3 * d_model,
					ranges: Array.from({ length: heads }, (_, head) => ({
						start: (3 * head + which) * d_head,
						count: d_head,
					})),
				},
			});
			const norm = (name: string) => ({
				weight: `${layer}.${name}.weight`,
				bias: `${layer}.${name}.bias`,
			});
			return {
				ln1: norm("input_layernorm"),
				q: part(0),
				k: part(1),
				v: part(2),
				o: linear("attention.dense", d_model, d_model, config.attention_bias),
				ln2: norm("post_attention_layernorm"),
				up: linear("mlp.dense_h_to_4h", d_model, d_mlp),
				down: linear("mlp.dense_4h_to_h", d_mlp, d_model),
				scale: d_head ** -0.5,
				window: 0,
			};
		}),
		finalNorm: { weight: "gpt_neox.final_layer_norm.weight", bias: "gpt_neox.final_layer_norm.bias" },
		unembed: {
			weight: config.tie_word_embeddings ? "gpt_neox.embed_in.weight" : "embed_out.weight",
			d_in: d_model,
			d_out: vocab,
		},
		logitCap: 0,
		modules: {
			layers: "gpt_neox.layers",
			inLayer: {
				"": "hook_resid_post",
				input_layernorm: "ln1.out",
				attention: "hook_attn_out",
				"attention.dense": "hook_attn_out",
				post_attention_layernorm: "ln2.out",
				mlp: "hook_mlp_out",
				"mlp.dense_h_to_4h": "mlp.hook_pre",
				"mlp.act": "mlp.hook_post",
				"mlp.dense_4h_to_h": "hook_mlp_out",
			},
			outside: {
				"gpt_neox.embed_in": "hook_embed",
				"gpt_neox.final_layer_norm": "ln_final.out",
			},
		},
	};
}

type Neox = z.infer<typeof config>;

export const gptNeox = family(config, describe);
