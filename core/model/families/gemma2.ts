/** Gemma 2: Llama with norms around both parts of a layer, capped scores and logits, and windows in every other layer. */
import { z } from "zod";
import type { ModelSpec } from "../spec.ts";
import { describeLlama, llamaConfig } from "./llama.ts";
import { activation, family, size } from "./shared.ts";
import { layerTypes, windowsOf } from "./windows.ts";

const cap = z.number().positive().nullish();

const config = llamaConfig.extend({
	hidden_act: activation.optional(),
	hidden_activation: activation.prefault("gelu_pytorch_tanh"),
	head_dim: size.default(256),
	query_pre_attn_scalar: z.number().positive().default(256),
	sliding_window: size.nullish(),
	layer_types: layerTypes.nullish(),
	attn_logit_softcapping: cap,
	final_logit_softcapping: cap,
	attention_bias: z.boolean().default(false),
	tie_word_embeddings: z.boolean().default(true),
});

type Config = z.infer<typeof config>;

function describe(config: Config): ModelSpec {
	const biased = config.attention_bias;
	const activations = { ...config, hidden_act: config.hidden_activation };
	const model = describeLlama(activations, "gemma2", { qkv: biased, o: biased, mlp: false });
	const even = (layer: number) => layer % 2 === 0;
	const windows = windowsOf(model.layers.length, config.sliding_window ?? 0, config.layer_types, even);
	// What comes out of the embedding module is not yet scaled, unlike the residual stream.
	const { "model.embed_tokens": _, ...outside } = model.modules.outside;
	return {
		...model,
		embed: { ...model.embed, scale: Math.fround(Math.sqrt(model.d_model)) },
		norm: { ...model.norm, plusOne: true },
		scoreCap: config.attn_logit_softcapping ?? 0,
		logitCap: config.final_logit_softcapping ?? 0,
		layers: model.layers.map((layer, l) => {
			const norm = (name: string) => ({ weight: `model.layers.${l}.${name}.weight` });
			return {
				...layer,
				ln1Post: norm("post_attention_layernorm"),
				ln2: norm("pre_feedforward_layernorm"),
				ln2Post: norm("post_feedforward_layernorm"),
				scale: config.query_pre_attn_scalar ** -0.5,
				window: windows[l]!,
			};
		}),
		modules: {
			...model.modules,
			outside,
			inLayer: {
				...model.modules.inLayer,
				self_attn: "attn.out",
				"self_attn.o_proj": "attn.out",
				post_attention_layernorm: "hook_attn_out",
				pre_feedforward_layernorm: "ln2.out",
				mlp: "mlp.out",
				"mlp.down_proj": "mlp.out",
				post_feedforward_layernorm: "hook_mlp_out",
			},
		},
	};
}

export const gemma2 = family(config, describe);
