/**
 * `sae eval families`: latents that are on when a more frequent one is, as trees (O'Neill et al. 2024, "Disentangling
 * dense embeddings with sparse autoencoders").
 */
import { type Core, definePlugin, type EvaluatorContribution, type MetricRow } from "saeflow";
import type { z } from "zod";
import { Cooccurrence, type PairCounts } from "./cooccurrence/counts.ts";
import { encoded, passOptions } from "./evaluation/encoded.ts";
import { type Family, families } from "./families/trees.ts";

export default definePlugin({
	name: "eval-families",
	apiVersion: 1,
	contributes: (core) => [familiesEvaluator(core)],
});

function familyOptions(core: Core) {
	const { z } = core;
	return z.object({
		threshold: z
			.number()
			.gt(0)
			.max(1)
			.default(0.1)
			.describe("Least share of a child's rows on which its parent is on too"),
		rounds: z.int().min(1).default(3).describe("How often roots are taken off and families searched again"),
		least_children: z
			.int()
			.min(1)
			.default(4)
			.describe("Latents that a family has besides its root, at least"),
		overlap: z
			.number()
			.min(0)
			.max(1)
			.default(0.6)
			.describe("Of two families that share more of their members, the larger one stays"),
		most_latents: z
			.int()
			.min(2)
			.default(2048)
			.describe("Latents whose pairs are counted; of more, those that are on most often at first"),
		...passOptions(core, 1_000_000),
	});
}

type Options = z.output<ReturnType<typeof familyOptions>>;

function familiesEvaluator(core: Core): EvaluatorContribution<Options> {
	return {
		kind: "evaluator",
		name: "families",
		summary: "trees of latents that are on together, the more frequent one above: a row for every edge",
		options: familyOptions(core),
		input: "stream",
		async evaluate({ model, stream }, options, context): Promise<MetricRow[]> {
			const counter = new Cooccurrence(model.d_sae, options.most_latents);
			for await (const { codes } of encoded(core, model, stream!, options, context)) {
				for (let row = 0; row < codes.rows; row++) {
					const [from, to] = [codes.offsets[row]!, codes.offsets[row + 1]!];
					counter.add(codes.index.subarray(from, to).filter((_, i) => codes.value[from + i] !== 0));
				}
			}
			const counts = counter.finish();
			const found = families(counts, {
				threshold: options.threshold,
				rounds: options.rounds,
				leastChildren: options.least_children,
				overlap: options.overlap,
			});
			if (found.length === 0) {
				context.log.warn("no families: try a lower --threshold or --least-children");
				return [{ ...EMPTY }];
			}
			return found.flatMap((family, i) => rowsOf(family, i, counts));
		},
	};
}

/** The columns of a row, where there is none to give. */
const EMPTY = {
	family: null,
	round: null,
	root: null,
	parent: null,
	child: null,
	weight: null,
	parent_density: null,
	child_density: null,
	block_ratio: null,
} satisfies MetricRow;

function rowsOf(family: Family, number: number, counts: PairCounts): MetricRow[] {
	const latent = (place: number) => counts.latents[place]!;
	const density = (place: number) => counts.together(place, place) / counts.sets;
	const ratio = blockRatio(family, counts);
	return family.edges.map(({ parent, child, weight }) => ({
		family: number,
		round: family.round,
		root: latent(family.root),
		parent: latent(parent),
		child: latent(child),
		weight,
		parent_density: density(parent),
		child_density: density(child),
		block_ratio: ratio,
	}));
}

/**
 * How much more often members are on with the root than with each other: means of counts over those of the rarer
 * latent. Null where members are never on together.
 */
function blockRatio({ root, edges }: Family, { together }: PairCounts): number | null {
	const members = edges.map(({ child }) => child);
	const share = (i: number, j: number) => together(i, j) / Math.min(together(i, i), together(j, j));
	const mean = (values: readonly number[]) => values.reduce((sum, value) => sum + value, 0) / values.length;
	const among = members.flatMap((a, i) => members.slice(0, i).map((b) => share(a, b)));
	const rest = mean(among);
	return rest > 0 ? mean(members.map((member) => share(root, member))) / rest : null;
}
