/** `sae interpret ngram`: rules of tokens that say where a latent is active, found without a server. */
import { type Core, definePlugin, type InterpreterContribution } from "saeflow";
import type { z } from "zod";
import { interpreter } from "./ngram/interpreter.ts";

export default definePlugin({
	name: "interpret-ngram",
	apiVersion: 1,
	contributes: (core) => [ngram(core)],
});

function optionsOf({ z }: Core) {
	return z.object({
		tokens: z
			.int()
			.min(1)
			.max(100)
			.default(4)
			.describe("Tokens that a rule looks at: the one itself and those right before it"),
		rules: z.int().min(1).max(100).default(5).describe("Rules of one latent, at most"),
		active_share: z
			.number()
			.gt(0)
			.max(1)
			.default(0.2)
			.describe(
				"From this share of its largest activation on a latent counts as active; below it counts as neither",
			),
		shown: z.int().min(1).max(1000).default(30).describe("Passages that rules are learnt from, at most"),
		held_out: z.int().min(1).max(1000).default(20).describe("Passages that judge them, at most"),
		seed: z.int().min(0).max(0xffffffff).default(0).describe("Seed of the passages in which it is silent"),
	});
}

function ngram(core: Core): InterpreterContribution<z.output<ReturnType<typeof optionsOf>>> {
	return {
		kind: "interpreter",
		name: "ngram",
		summary:
			"rules of tokens: on which one a latent is active, after which others, and with which exceptions",
		options: optionsOf(core),
		open: async ({ pool }, options) => interpreter(core, pool, options),
	};
}
