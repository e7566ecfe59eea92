/**
 * `sae eval geometry`: how decoder directions lie, and whether latents that are on together lie together (Li, Michaud
 * et al. 2024, "The geometry of concepts: sparse autoencoder feature structure").
 */
import {
	type Context,
	type Core,
	definePlugin,
	type EvaluatorContribution,
	type MetricRow,
	type RecordStream,
	type SaeModel,
} from "saeflow";
import type { z } from "zod";
import { Cooccurrence, type PairCounts, phi } from "./cooccurrence/counts.ts";
import { encoded, passOptions } from "./evaluation/encoded.ts";
import { adjustedMutualInformation, mutualInformation, spectralClusters } from "./geometry/lobes.ts";
import { neighbours } from "./geometry/neighbours.ts";
import { covarianceEigenvalues, powerLaw } from "./geometry/spectrum.ts";
import { dot, unitRows } from "./recovery/cosines.ts";

const PERMUTATIONS = 100;

export default definePlugin({
	name: "eval-geometry",
	apiVersion: 1,
	contributes: (core) => [geometry(core)],
});

function geometryOptions(core: Core) {
	const { z } = core;
	return z.object({
		block: z.int().min(1).default(256).describe("Rows of a block; a latent is on in one when any row has it"),
		above: z.number().min(0).default(0).describe("A latent is on in a row above this activation"),
		least_blocks: z.int().min(1).default(3).describe("Blocks that a latent must be on, and off, in to count"),
		most_latents: z
			.int()
			.min(2)
			.default(1024)
			.describe("Latents whose pairs are counted; of more, those that are on most often at first"),
		lobes: z.int().min(2).default(2).describe("Clusters of latents that are on together"),
		cosine: z
			.number()
			.gt(0)
			.max(1)
			.default(0.7)
			.describe("Decoder rows from this cosine on are of one cluster"),
		seed: z.int().min(0).default(42).describe("Seed of clusters, permutations and random decoder rows"),
		...passOptions(core, 1_000_000),
	});
}

type Options = z.output<ReturnType<typeof geometryOptions>>;

function geometry(core: Core): EvaluatorContribution<Options> {
	return {
		kind: "evaluator",
		name: "geometry",
		summary:
			"cosines and clusters of decoder rows, their spectrum, and lobes of latents that are on together",
		options: geometryOptions(core),
		input: "stream",
		async evaluate({ model, stream }, options, context): Promise<MetricRow[]> {
			const counts = await countBlocks(core, model, stream!, options, context);
			const together = lobeFigures(core, model, counts, options);
			return [{ ...(await decoderFigures(core, model, options, context)), ...together }];
		},
	};
}

async function countBlocks(
	core: Core,
	model: SaeModel,
	stream: RecordStream,
	options: Options,
	context: Context,
): Promise<PairCounts> {
	const counts = new Cooccurrence(model.d_sae, options.most_latents);
	let on = new Set<number>();
	let rows = 0;
	for await (const { codes } of encoded(core, model, stream, options, context)) {
		for (let row = 0; row < codes.rows; row++) {
			for (let entry = codes.offsets[row]!; entry < codes.offsets[row + 1]!; entry++) {
				if (codes.value[entry]! > options.above) on.add(codes.index[entry]!);
			}
			if (++rows % options.block > 0) continue;
			counts.add(Uint32Array.from(on));
			on = new Set();
		}
	}
	return counts.finish();
}

async function decoderFigures(core: Core, model: SaeModel, options: Options, { signal, log }: Context) {
	const { d_in, d_out = d_in, d_sae, tensors } = model;
	const decoder = { rows: d_sae, width: d_out, data: tensors.W_dec!.data };
	const directions = unitRows(decoder).filter((row) => row.some((value) => value !== 0));
	if (directions.length < 2) throw new core.SaeError("fewer than two decoder rows have a direction");
	const pause = async (row: number) => {
		await new Promise((resolve) => setImmediate(resolve));
		signal.throwIfAborted();
		if (row > 0) log.progress(`decoder row ${row} of ${directions.length}`);
	};
	const { nearest, mean, deviation, clusters } = await neighbours(directions, options.cosine, pause);
	const random = new core.CounterRng(options.seed).derive(0);
	const chance = Float64Array.from({ length: d_sae * d_out }, (_, i) => random.normal(i));
	const law = powerLaw(covarianceEigenvalues(decoder));
	const chanceLaw = powerLaw(covarianceEigenvalues({ rows: d_sae, width: d_out, data: chance }));
	return {
		cosine_mean: mean,
		cosine_std: deviation,
		max_cosine_mean: nearest.reduce((sum, value) => sum + value, 0) / nearest.length,
		max_cosine_max: nearest.reduce((most, value) => Math.max(most, value), -1),
		clusters: clusters.length,
		largest_cluster: clusters[0]!,
		/** Share of rows that are in a cluster with another one. */
		clustered: clusters.reduce((sum, size) => (size > 1 ? sum + size : sum), 0) / directions.length,
		power_law: law?.exponent ?? null,
		power_law_error: law?.error ?? null,
		power_law_random: chanceLaw?.exponent ?? null,
	};
}

function lobeFigures(core: Core, model: SaeModel, counts: PairCounts, options: Options) {
	const { least_blocks: least, lobes: count } = options;
	const kept = Array.from(counts.latents.keys()).filter((i) => {
		const on = counts.together(i, i);
		return on >= least && counts.sets - on >= least;
	});
	const base = { blocks: counts.sets, counted_latents: counts.latents.length, lobe_latents: kept.length };
	const names = ["phi_mean", "phi_max", "lobe_ami", "lobe_mi_z"];
	if (kept.length <= count) return { ...base, ...Object.fromEntries(names.map((name) => [name, null])) };
	const correlation = kept.map((i) => Float64Array.from(kept, (j) => (i === j ? 1 : phi(counts, i, j)!)));
	const random = new core.CounterRng(options.seed);
	const lobes = spectralClusters(
		correlation.map((row) => row.map((value) => Math.max(0, value + 1))),
		count,
		random.derive(1),
	);
	const { d_in, d_out = d_in, tensors } = model;
	const rows = kept.flatMap((i) => {
		const latent = counts.latents[i]!;
		return unitRows({
			rows: 1,
			width: d_out,
			data: tensors.W_dec!.data.subarray(latent * d_out, (latent + 1) * d_out),
		});
	});
	const angle = (a: Float64Array, b: Float64Array) =>
		1 - Math.acos(Math.max(-1, Math.min(1, dot(a, b)))) / Math.PI;
	const places = spectralClusters(
		rows.map((row) => Float64Array.from(rows, (other) => angle(row, other))),
		count,
		random.derive(2),
	);
	const chance = Array.from({ length: PERMUTATIONS }, (_, i) => {
		const order = core.permutation(random.derive(3 + i), kept.length);
		return mutualInformation(
			Int32Array.from(order, (j) => lobes[j]!),
			places,
		);
	});
	const mean = chance.reduce((sum, value) => sum + value, 0) / PERMUTATIONS;
	const deviation = Math.sqrt(
		chance.reduce((sum, value) => sum + (value - mean) ** 2, 0) / (PERMUTATIONS - 1),
	);
	const pairs = correlation.flatMap((row, i) => [...row.subarray(0, i)]);
	return {
		...base,
		phi_mean: pairs.reduce((sum, value) => sum + value, 0) / pairs.length,
		phi_max: pairs.reduce((most, value) => Math.max(most, value), -1),
		lobe_ami: adjustedMutualInformation(lobes, places),
		lobe_mi_z: deviation > 0 ? (mutualInformation(lobes, places) - mean) / deviation : null,
	};
}
