/** Qwen 2 and 2.5: Llama with biases of queries, keys and values, and sliding windows in some models' later layers. */
import { z } from "zod";
import type { ModelSpec } from "../spec.ts";
import { describeLlama, llamaConfig } from "./llama.ts";
import { family } from "./shared.ts";
import { layerTypes, windowsOf } from "./windows.ts";

const config = llamaConfig.extend({
	use_sliding_window: z.boolean().default(false),
	sliding_window: z.int().min(1).nullish(),
	max_window_layers: z.int().min(0).default(28),
	layer_types: layerTypes.nullish(),
});

type Config = z.infer<typeof config>;

function describe(config: Config): ModelSpec {
	const model = describeLlama(config, "qwen2", { qkv: true, o: false, mlp: false });
	const slides = (layer: number) => layer >= config.max_window_layers;
	const window = config.use_sliding_window ? (config.sliding_window ?? 0) : 0;
	const windows = windowsOf(model.layers.length, window, config.layer_types, slides);
	return { ...model, layers: model.layers.map((layer, l) => ({ ...layer, window: windows[l]! })) };
}

export const qwen2 = family(config, describe);
