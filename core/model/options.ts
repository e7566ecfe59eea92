/** Options of whatever runs a language model. */
import { z } from "zod";

export const modelOption = z
	.string()
	.describe("Folder in Hugging Face's layout, or a Hub id such as openai-community/gpt2");

/** Of several SAEs in one model. */
export const hookPointsOption = z
	.array(z.string())
	.optional()
	.meta({ hint: "NAME" })
	.describe(
		"Where each SAE belongs, in their order, or all of them; by default what it was trained on. FROM:TO for transcoders",
	);

export const skipOption = z.int().min(0).default(0).describe("Tokens to pass over first, in whole contexts");

export const batchTokensOption = z
	.int()
	.min(1)
	.max(1_000_000)
	.optional()
	.describe("Tokens that the device works on at a time");
