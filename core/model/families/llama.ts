/** Llama 1 to 3: RMSNorm, rotary positions, shared keys and values, a gated MLP. Qwen 2 and Gemma 2 build on it. */
import { z } from "zod";
import type { Layer, Linear, ModelSpec } from "../spec.ts";
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

export const llamaConfig = z.object({
	vocab_size: size,
	max_position_embeddings: size,
	hidden_size: size,
	num_hidden_layers: layerCount,
	num_attention_heads: size,
	num_key_value_heads: size.nullish(),
	head_dim: size.nullish(),
	intermediate_size: size,
	hidden_act: activation.prefault("silu"),
	rms_norm_eps: z.number().positive().default(1e-6),
	tie_word_embeddings: z.boolean().default(false),
	...ropeConfig,
	...specialTokens,
});

const config = llamaConfig.extend({
	attention_bias: z.boolean().default(false),
	mlp_bias: z.boolean().default(false),
});

/** Where a model of this kind has biases. */
export interface Biases {
	readonly qkv: boolean;
	readonly o: boolean;
	readonly mlp: boolean;
}

export function describeLlama(
	config: z.infer<typeof llamaConfig>,
	family: string,
	biases: Biases,
): ModelSpec {
	const {
		hidden_size: d_model,
		num_attention_heads: heads,
		intermediate_size: d_mlp,
		vocab_size: vocab,
	} = config;
	const d_head = config.head_dim ?? share(d_model, heads, "hidden_size");
	const kvHeads = config.num_key_value_heads ?? heads;
	share(heads, kvHeads, "num_attention_heads");
	return {
		family,
		d_model,
		d_head,
		heads,
		kvHeads,
		d_mlp,
		vocab,
		context: config.max_position_embeddings,
		...specials(config),
		prefix: "model.",
		embed: { tokens: "model.embed_tokens.weight", scale: 1 },
		rope: ropeOf(config, d_head),
		norm: { kind: "rms", eps: config.rms_norm_eps, plusOne: false },
		scoreCap: 0,
		activation: config.hidden_act,
		parallel: false,
		layers: eachLayer(config.num_hidden_layers, (l): Layer => {
			const layer = `model.layers.${l}`;
			const linear = (name: string, d_in: number, d_out: number, bias: boolean): Linear => ({
				weight: `${layer}.${name}.weight`,
				bias: bias ? `${layer}.${name}.bias` : undefined,
				d_in,
				d_out,
			});
			return {
				ln1: { weight: `${layer}.input_layernorm.weight` },
				q: linear("self_attn.q_proj", d_model, heads * d_head, biases.qkv),
				k: linear("self_attn.k_proj", d_model, kvHeads * d_head, biases.qkv),
				v: linear("self_attn.v_proj", d_model, kvHeads * d_head, biases.qkv),
				o: linear("self_attn.o_proj", heads * d_head, d_model, biases.o),
				ln2: { weight: `${layer}.post_attention_layernorm.weight` },
				gate: linear("mlp.gate_proj", d_model, d_mlp, biases.mlp),
				up: linear("mlp.up_proj", d_model, d_mlp, biases.mlp),
				down: linear("mlp.down_proj", d_mlp, d_model, biases.mlp),
				scale: d_head ** -0.5,
				window: 0,
			};
		}),
		finalNorm: { weight: "model.norm.weight" },
		unembed: {
			weight: config.tie_word_embeddings ? "model.embed_tokens.weight" : "lm_head.weight",
			d_in: d_model,
			d_out: vocab,
		},
		logitCap: 0,
		modules: {
			layers: "model.layers",
			inLayer: {
				"": "hook_resid_post",
				input_layernorm: "ln1.out",
				self_attn: "hook_attn_out",
				"self_attn.q_proj": "attn.hook_q",
				"self_attn.k_proj": "attn.hook_k",
				"self_attn.v_proj": "attn.hook_v",
				"self_attn.o_proj": "hook_attn_out",
				post_attention_layernorm: "ln2.out",
				mlp: "hook_mlp_out",
				"mlp.gate_proj": "mlp.hook_pre",
				"mlp.up_proj": "mlp.hook_pre_linear",
				"mlp.down_proj": "hook_mlp_out",
			},
			outside: {
				"model.embed_tokens": "hook_embed",
				"model.norm": "ln_final.out",
			},
		},
	};
}

export const llama = family(config, (config) => {
	const { attention_bias: attention, mlp_bias: mlp } = config;
	return describeLlama(config, "llama", { qkv: attention, o: attention, mlp });
});
