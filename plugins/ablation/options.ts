/** Options that evaluators which take latents out have in common. */
import type { Core } from "saeflow";
import { passOptions } from "../evaluation/encoded.ts";
import { numberList } from "../evaluation/numbers.ts";

export function ablationOptions(core: Core) {
	const { z } = core;
	return {
		group: z
			.string()
			.optional()
			.meta({ hint: "COLUMN" })
			.describe(
				"Rows that follow each other with one value here are one example, by their mean; e.g. document",
			),
		latents: numberList(core, z.int().min(1))
			.default([2, 5, 10, 20, 50, 100, 500])
			.meta({ hint: "N,..." })
			.describe("How many latents are taken out"),
		test_share: z.number().gt(0).lt(1).default(0.2).describe("Share of the examples to test on"),
		seed: z.int().min(0).default(42).describe("Seed of the split"),
		saebench: z.string().optional().meta({ hint: "FILE" }).describe("Also write SAEBench's JSON"),
		...passOptions(core, 20_000),
	};
}
