/**
 * `sae eval layer-distance`: how alike the layers of a model are, and which of them can share an SAE (Ghilardi et al.
 * 2024, "Efficient training of sparse autoencoders for large language models via layer groups"). The distance of two
 * layers is the mean angle between the rows of a token, after each layer's mean is taken off; groups come from
 * clustering with complete linkage, and their quality is the mean over groups of the largest distance within (AMAD).
 */
import { type Core, definePlugin, type MetricRow, type RowsEvaluatorContribution } from "saeflow";
import type { z } from "zod";
import { centredDirections, meanAngle } from "./layer-distance/angles.ts";
import { agglomerate, amad, type Distances, diameter } from "./layer-distance/groups.ts";
import { sampleLayers } from "./layer-distance/sample.ts";

export default definePlugin({
	name: "eval-layer-distance",
	apiVersion: 1,
	contributes: (core) => [layerDistance(core)],
});

function distanceOptions({ z }: Core) {
	return z.object({
		column: z
			.string()
			.optional()
			.describe("Column of vectors; by default activation, or the only one there is"),
		tokens: z.int().min(2).default(4096).describe("Tokens to compare, the first that all layers have"),
		threshold: z
			.number()
			.gt(0)
			.default(0.2)
			.describe("Suggest the fewest groups whose mean largest distance (AMAD) is below this"),
		contiguous: z.boolean().default(false).describe("Only groups of layers that follow each other"),
	});
}

type Options = z.output<ReturnType<typeof distanceOptions>>;

function layerDistance(core: Core): RowsEvaluatorContribution<Options> {
	return {
		kind: "evaluator",
		name: "layer-distance",
		summary: "how far apart the layers of a stream are, and which could share an SAE",
		options: distanceOptions(core),
		input: "rows",
		async evaluate({ stream }, { column, tokens, threshold, contiguous }, { signal }): Promise<MetricRow[]> {
			const sample = await sampleLayers(core, stream, column, tokens, signal);
			const layers = [...sample.rows.keys()];
			const rows = [...sample.rows.values()];
			for (const own of rows) centredDirections(own, sample.width);
			const distances = rows.map((a, i) => rows.map((b, j) => (i < j ? meanAngle(a, b, sample.width) : 0)));
			for (const [i, row] of distances.entries()) for (let j = 0; j < i; j++) row[j] = distances[j]![i]!;
			return [...pairRows(layers, distances), ...groupRows(layers, distances, threshold, contiguous)];
		},
	};
}

/** A row for every two layers. */
function pairRows(layers: readonly number[], distances: Distances): MetricRow[] {
	return layers.flatMap((layer, i) =>
		layers.slice(i + 1).map((other, j) => ({
			groups: null,
			layers: `${layer} ${other}`,
			distance: distances[i]![i + 1 + j]!,
			amad: null,
			suggested: null,
		})),
	);
}

/** A row for every group of each number of groups, from one to every layer by itself; `distance` is its diameter. */
function groupRows(
	layers: readonly number[],
	distances: Distances,
	threshold: number,
	contiguous: boolean,
): MetricRow[] {
	const steps = agglomerate(distances, contiguous).toReversed();
	const suggested = steps.find((groups) => amad(groups, distances) < threshold);
	return steps.flatMap((groups) =>
		groups.map((group) => ({
			groups: groups.length,
			layers: group.map((item) => layers[item]).join(" "),
			distance: diameter(group, distances),
			amad: amad(groups, distances),
			suggested: groups === suggested ? 1 : 0,
		})),
	);
}
