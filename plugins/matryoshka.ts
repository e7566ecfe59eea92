/**
 * Matryoshka SAEs (Bussmann et al. 2025, "Learning multi-level features with Matryoshka sparse autoencoders"): every
 * prefix of the latents has to reconstruct the data by itself, so that the first latents learn the general features
 * and later ones don't absorb them. Codes are selected by BatchTopK, over all latents at once; AuxK works on what all
 * latents together leave. The authors give the empty prefix, b_dec alone, and all others the same weight.
 *
 * `--prefixes random` draws prefixes for every update (Nabeshima 2024, "Matryoshka sparse autoencoders").
 */
import { type Core, definePlugin, type Nesting } from "saeflow";
import { fixedSizes, type Prefix, parsePrefixes, randomSizes } from "./matryoshka/prefixes.ts";
import { type Budgeted, budgetOptions, kOption, ON_AVERAGE } from "./shared/budget.ts";
import { auxK, reconstruction, unitParameters } from "./shared/terms.ts";
import { asJumpReLU, thresholdInference } from "./shared/thresholds.ts";

interface Options extends Budgeted {
	readonly prefixes: string;
	readonly prefix_count: number;
	readonly prefix_weights?: string | undefined;
	readonly empty_prefix: boolean;
}

export default definePlugin({
	name: "matryoshka",
	apiVersion: 1,
	contributes(core) {
		const { z } = core;
		const isList = (text: string) => text === "random" || parsePrefixes(text) !== undefined;
		const options = z.object({
			k: kOption(core, ON_AVERAGE),
			prefixes: z
				.string()
				.refine(isList, "must list numbers of latents or shares of them, like 512,1/4,1/2, or be random")
				.default("1/16,1/8,1/4,1/2")
				.meta({ hint: "SIZES" })
				.describe(
					"Prefixes that reconstruct alone, besides that of all latents; or random: others for each update",
				),
			prefix_count: z
				.int()
				.min(2)
				.max(14)
				.default(10)
				.describe("How many prefixes --prefixes random draws, that of all latents included"),
			prefix_weights: z
				.string()
				.regex(/^\d*\.?\d+(,\d*\.?\d+)*$/, "must list numbers, like 1,1,2")
				.optional()
				.meta({ hint: "LIST" })
				.describe("Weight of each prefix, the shortest first, scaled to a sum of 1; equal unless given"),
			empty_prefix: z.boolean().default(true).describe("Whether the empty prefix, b_dec alone, is one too"),
			...budgetOptions(core),
		});
		return [
			{
				kind: "architecture",
				name: "matryoshka",
				summary: "BatchTopK whose first latents reconstruct alone: general features come first",
				options,
				training: (o: Options, { d_out, d_sae }) => ({
					parameters: unitParameters(o.pre_bias),
					apply_b_dec_to_input: true,
					loss: [
						reconstruction({ kind: "batch_topk", k: o.k }, { nested: nesting(core, o, d_sae) }),
						...auxK(o, d_out),
					],
				}),
				settings: () => ({}),
				finish: (model) => asJumpReLU(core, model),
				inference: (_, { k }) => thresholdInference(k),
			},
		];
	},
});

function nesting(core: Core, o: Options, d_sae: number): Nesting {
	const empty = o.empty_prefix ? [0] : [];
	if (o.prefixes === "random") {
		if (o.prefix_count > d_sae) {
			throw core.usageError(`--prefix-count ${o.prefix_count}: there are only ${d_sae} latents`);
		}
		return {
			by: "latent",
			sizes: (update) => [...empty, ...randomSizes(core, o.prefix_count, d_sae, update)],
			weights: weightsOf(core, o, empty.length + o.prefix_count),
		};
	}
	const sizes = [...empty, ...fixedSizes(core, parsePrefixes(o.prefixes) as Prefix[], d_sae)];
	return { by: "latent", sizes, weights: weightsOf(core, o, sizes.length) };
}

function weightsOf({ usageError }: Core, { prefix_weights }: Options, parts: number): number[] {
	const given = prefix_weights?.split(",").map(Number) ?? new Array<number>(parts).fill(1);
	if (given.length !== parts) {
		throw usageError(`--prefix-weights: has ${given.length} numbers for ${parts} prefixes`);
	}
	const sum = given.reduce((a, b) => a + b);
	if (given.at(-1) === 0) throw usageError("--prefix-weights: the last one, of all latents, must be over 0");
	return given.map((weight) => weight / sum);
}
