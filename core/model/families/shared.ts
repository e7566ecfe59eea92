/** What several families read from config.json in the same way. */
import { z } from "zod";
import type { Activation } from "../../../kernels/model/map.ts";
import { SaeError } from "../../errors.ts";
import type { ModelSpec, Rope } from "../spec.ts";

/** How a family reads the content of config.json. */
export interface Family {
	/** @throws ZodError for fields that are missing or wrong, SaeError for what can't be run. */
	describe(content: unknown): ModelSpec;
}

export function family<Config>(config: z.ZodType<Config>, describe: (config: Config) => ModelSpec): Family {
	return { describe: (content) => describe(config.parse(content)) };
}

export const size = z.int().min(1);
/** A number of layers; more than any model has is a damaged file, and would fill memory before weights are missed. */
export const layerCount = size.max(10_000);
const id = z.int().min(0);

/** Ids of special tokens; several may end a text. */
export const specialTokens = {
	bos_token_id: id.nullish(),
	eos_token_id: z.union([id, z.array(id)]).nullish(),
	pad_token_id: id.nullish(),
};

export function specials(config: z.infer<z.ZodObject<typeof specialTokens>>) {
	return {
		bos: config.bos_token_id ?? undefined,
		eos: [config.eos_token_id ?? []].flat(),
		pad: config.pad_token_id ?? undefined,
	};
}

/** Names of activations in config.json. */
const ACTIVATIONS: Readonly<Record<string, Activation>> = {
	gelu: "gelu",
	gelu_new: "gelu_tanh",
	gelu_fast: "gelu_tanh",
	gelu_pytorch_tanh: "gelu_tanh",
	quick_gelu: "gelu_quick",
	silu: "silu",
	swish: "silu",
	relu: "relu",
};

export const activation = z.string().transform((name, context): Activation => {
	const found = Object.hasOwn(ACTIVATIONS, name) ? ACTIVATIONS[name] : undefined;
	if (found) return found;
	context.addIssue(`${name} can't be computed; there are: ${Object.keys(ACTIVATIONS).join(", ")}`);
	return z.NEVER;
});

const ropeFields = z.object({
	rope_type: z.string().optional(),
	type: z.string().optional(),
	rope_theta: z.number().positive().optional(),
	partial_rotary_factor: z.number().positive().max(1).optional(),
	factor: z.number().positive().optional(),
	low_freq_factor: z.number().positive().optional(),
	high_freq_factor: z.number().positive().optional(),
	original_max_position_embeddings: z.number().positive().optional(),
});

/** transformers 5 gathers in `rope_parameters` what versions before wrote into two fields. */
export const ropeConfig = {
	rope_parameters: ropeFields.nullish(),
	rope_scaling: ropeFields.nullish(),
	rope_theta: z.number().positive().optional(),
};

type RopeConfig = z.infer<z.ZodObject<typeof ropeConfig>>;

/** Angles per position in float32, as transformers computes them. `share`: of a head's dimensions, those that turn. */
export function ropeOf(config: RopeConfig, d_head: number, share = 1): Rope {
	const field = config.rope_parameters ? "rope_parameters" : "rope_scaling";
	const given = config.rope_parameters ?? config.rope_scaling ?? {};
	const type = given.rope_type ?? given.type ?? "default";
	const theta = given.rope_theta ?? config.rope_theta ?? 10_000;
	const dims = Math.floor(d_head * (given.partial_rotary_factor ?? share));
	if (dims % 2 !== 0) throw new SaeError(`${field}: ${dims} dimensions of a head would turn, an odd number`);
	const plain = Float32Array.from({ length: dims / 2 }, (_, i) => 1 / Math.fround(theta ** ((2 * i) / dims)));
	const need = (key: keyof typeof given): number => {
		const value = given[key];
		if (typeof value !== "number") throw new SaeError(`${field}.${key}: is missing, which ${type} needs`);
		return value;
	};
	switch (type) {
		case "default":
			return { dims, frequencies: plain };
		case "linear": {
			const factor = need("factor");
			return { dims, frequencies: plain.map((frequency) => frequency / factor) };
		}
		case "llama3": {
			const [factor, low, high] = [need("factor"), need("low_freq_factor"), need("high_freq_factor")];
			const original = need("original_max_position_embeddings");
			return { dims, frequencies: plain.map((frequency) => llama3(frequency, factor, low, high, original)) };
		}
		default:
			throw new SaeError(`${field}.rope_type: ${type} can't be computed; there are: default, linear, llama3`);
	}
}

/** Long waves are stretched, short ones stay, and those between are blended (Llama 3.1). */
function llama3(frequency: number, factor: number, low: number, high: number, original: number): number {
	const wavelength = (2 * Math.PI) / frequency;
	if (wavelength > original / low) return frequency / factor;
	if (wavelength < original / high) return frequency;
	const smooth = (original / wavelength - low) / (high - low);
	return ((1 - smooth) * frequency) / factor + smooth * frequency;
}

/** `count` descriptions, one per layer. */
export function eachLayer<T>(count: number, describe: (layer: number) => T): T[] {
	return Array.from({ length: count }, (_, layer) => describe(layer));
}

/** A size that must come out whole. */
export function share(total: number, parts: number, what: string): number {
	if (total % parts !== 0) throw new SaeError(`${what}: ${total} can't be shared by ${parts}`);
	return total / parts;
}
