/** Small models of any family with random weights, as folders. */
import { mkdir } from "node:fs/promises";
import { join } from "node:path";
import { fromFloat32, toFloat32 } from "../../core/files/dtype.ts";
import { writeSafetensors } from "../../core/files/safetensors.ts";
import { describeModel } from "../../core/model/config.ts";
import { embeddings, linearsOf, normsOf } from "../../core/model/parts.ts";
import { randomStream, randomTensor } from "./models.ts";
import type { Tensors } from "./transformer.ts";

type Dtype = "f32" | "f16" | "bf16";

/** Random weights of the shapes that a config asks for, rounded to `dtype`. */
export function randomWeights(config: object, dtype: Dtype = "f32", seed = 1): Tensors {
	const spec = describeModel(config, "config.json");
	const random = randomStream(seed);
	const tensors: Record<string, { shape: readonly number[]; data: Float32Array }> = {};
	const add = (name: string, shape: readonly number[], scale: number, centre = 0) => {
		if (tensors[name]) return;
		const data = randomTensor(shape, random, scale).data.map((value) => value + centre);
		tensors[name] = { shape, data: toFloat32(fromFloat32(data, dtype).slice(), dtype) };
	};
	for (const { weight, bias, part, transposed, d_in, d_out } of [
		...embeddings(spec),
		...spec.layers.flatMap(linearsOf),
		spec.unembed,
	]) {
		const outputs = part?.of ?? d_out;
		add(weight, transposed ? [d_in, outputs] : [outputs, d_in], 3 / Math.sqrt(d_in));
		if (bias) add(bias, [outputs], 0.5);
	}
	for (const { weight, bias } of [...spec.layers.flatMap(normsOf), spec.finalNorm]) {
		add(weight, [spec.d_model], 0.5, spec.norm.plusOne ? 0 : 1);
		if (bias) add(bias, [spec.d_model], 0.5);
	}
	return tensors;
}

/** Writes a model's folder; its path. */
export async function writeModel(
	folder: string,
	config: object,
	tensors: Tensors,
	dtype: Dtype = "f32",
): Promise<string> {
	await mkdir(folder, { recursive: true });
	await Bun.write(join(folder, "config.json"), JSON.stringify(config));
	const arrays = Object.entries(tensors).map(([name, { shape, data }]) => ({
		name,
		dtype,
		shape,
		data: fromFloat32(data, dtype),
	}));
	await writeSafetensors(join(folder, "model.safetensors"), arrays);
	return folder;
}

const small = {
	vocab_size: 37,
	hidden_size: 20,
	num_hidden_layers: 2,
	intermediate_size: 28,
	max_position_embeddings: 64,
};

/** Sizes that nothing divides, and everything that a family can have switched on. */
export const CONFIGS = {
	gpt2: {
		model_type: "gpt2",
		vocab_size: 37,
		n_positions: 64,
		n_embd: 18,
		n_layer: 2,
		n_head: 3,
		scale_attn_by_inverse_layer_idx: true,
	},
	gpt_neox: {
		...small,
		model_type: "gpt_neox",
		num_attention_heads: 2,
		rotary_pct: 0.4,
		tie_word_embeddings: true,
	},
	"gpt_neox, not parallel": {
		...small,
		model_type: "gpt_neox",
		num_attention_heads: 2,
		use_parallel_residual: false,
		hidden_act: "relu",
	},
	llama: {
		...small,
		model_type: "llama",
		num_attention_heads: 4,
		num_key_value_heads: 2,
		head_dim: 6,
		mlp_bias: true,
		rope_theta: 100,
		rope_scaling: {
			rope_type: "llama3",
			factor: 4,
			low_freq_factor: 1,
			high_freq_factor: 4,
			original_max_position_embeddings: 32,
		},
	},
	qwen2: {
		...small,
		model_type: "qwen2",
		num_attention_heads: 2,
		num_key_value_heads: 1,
		use_sliding_window: true,
		sliding_window: 4,
		max_window_layers: 1,
		rope_parameters: { rope_type: "linear", rope_theta: 1000, factor: 2 },
	},
	gemma2: {
		...small,
		model_type: "gemma2",
		num_attention_heads: 4,
		num_key_value_heads: 2,
		head_dim: 6,
		query_pre_attn_scalar: 9,
		sliding_window: 5,
		attn_logit_softcapping: 2,
		final_logit_softcapping: 3,
	},
} as const;
