/** `sae interpret tokens`: the tokens that a latent is active on, with their shares, and their entropy in bits. */
import {
	type Core,
	definePlugin,
	type Feature,
	type Interpretation,
	type InterpreterContribution,
} from "saeflow";
import type { z } from "zod";

export default definePlugin({
	name: "interpret-tokens",
	apiVersion: 1,
	contributes: (core) => [tokens(core)],
});

function optionsOf({ z }: Core) {
	return z.object({
		most: z.int().min(1).max(1000).default(5).describe("Tokens that are named, at most"),
		share: z
			.number()
			.min(0)
			.max(1)
			.default(0.08)
			.describe("Share of a latent's activations that a token must have to be named"),
	});
}

type Options = z.output<ReturnType<typeof optionsOf>>;

function tokens(core: Core): InterpreterContribution<Options> {
	return {
		kind: "interpreter",
		name: "tokens",
		summary: "the tokens that a latent is active on most often, with their shares",
		options: optionsOf(core),
		open: async (_, options) => ({
			columns: ["top_share", "entropy", "distinct", "counted"].map((name) => `tokens_${name}`),
			interpret: async ({ feature }) => explainByTokens(feature, options),
		}),
	};
}

/** Samples are a uniform draw of a latent's activations, which makes shares among them unbiased; top examples are not. */
function explainByTokens({ samples, top }: Feature, { most, share }: Options): Interpretation {
	const examples = samples.length > 0 ? samples : top;
	const pieces = examples.map(
		({ texts, tokens, at }) => texts[at] ?? (at in tokens ? `token ${tokens[at]}` : undefined),
	);
	const counts = new Map<string, number>();
	for (const piece of pieces) if (piece !== undefined) counts.set(piece, (counts.get(piece) ?? 0) + 1);
	const total = [...counts.values()].reduce((sum, count) => sum + count, 0);
	const shares = [...counts]
		.map(([text, count]) => ({ text, share: count / total }))
		.sort((a, b) => b.share - a.share);
	const named = shares.filter((token) => token.share >= share).slice(0, most);
	const explanation = named
		.map((token) => `${JSON.stringify(token.text)} ${Math.round(100 * token.share)} %`)
		.join(", ");
	return {
		explanation: explanation || null,
		source: explanation ? "tokens" : null,
		scores: {
			tokens_top_share: shares[0]?.share ?? null,
			tokens_entropy:
				total > 0 ? -shares.reduce((sum, token) => sum + token.share * Math.log2(token.share), 0) : null,
			tokens_distinct: shares.length,
			tokens_counted: total,
		},
	};
}
