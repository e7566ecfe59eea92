/** From a config.json to the description of its model. */
import { z } from "zod";
import { SaeError } from "../errors.ts";
import { gemma2 } from "./families/gemma2.ts";
import { gptNeox } from "./families/gpt-neox.ts";
import { gpt2 } from "./families/gpt2.ts";
import { llama } from "./families/llama.ts";
import { qwen2 } from "./families/qwen2.ts";
import type { Family } from "./families/shared.ts";
import type { ModelSpec } from "./spec.ts";

const FAMILIES: Readonly<Record<string, Family>> = {
	gpt2,
	gpt_neox: gptNeox,
	llama,
	qwen2,
	gemma2,
};

/**
 * The description of the model of a config. `path` stands for it in messages.
 *
 * @throws SaeError that names the path and the field.
 */
export function describeModel(config: unknown, path: string): ModelSpec {
	const type = z.object({ model_type: z.string() }).safeParse(config);
	if (!type.success) throw new SaeError(`${path}: model_type is missing; this is no language model's config`);
	const { model_type } = type.data;
	const family = Object.hasOwn(FAMILIES, model_type) ? FAMILIES[model_type] : undefined;
	if (!family) {
		throw new SaeError(
			`${path}: model_type ${model_type} can't be run; there are: ${Object.keys(FAMILIES).join(", ")} (for others see docs/other-models.md)`,
		);
	}
	if ((config as Record<string, unknown>).quantization_config !== undefined) {
		throw new SaeError(`${path}: quantization_config: quantised weights can't be read; take the model's own`);
	}
	try {
		return family.describe(config);
	} catch (error) {
		if (error instanceof z.ZodError) {
			const { path: field, message } = error.issues[0]!;
			throw new SaeError(`${path}: ${field.join(".")}: ${message}`);
		}
		if (error instanceof SaeError) throw new SaeError(`${path}: ${error.message}`);
		throw error;
	}
}
