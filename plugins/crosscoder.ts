/**
 * Crosscoders (Lindsey et al. 2024, "Sparse crosscoders for cross-layer features and model diffing"): one set of latents
 * reads and writes several sources, the activations of several layers or models at the same token. The sources lie side
 * by side as columns, S · d of them. The penalty is L1 with every latent weighed by the sum of its decoder's norms in
 * each source, which lets latents belong to one source alone.
 *
 * L1 makes some latents look as if they were one source's own that are not; BatchTopK does so less (Minder et al. 2025,
 * "Overcoming sparsity artifacts in crosscoders"). They select by f times the summed norms; here selection is by f, with
 * decoder rows over all sources held at unit norm.
 */
import { definePlugin, type Penalty, type TrainingSpec } from "saeflow";
import { kOption, ON_AVERAGE } from "./shared/budget.ts";
import { l1Option, type Penalised, rising, warmupOption } from "./shared/penalties.ts";
import { type AuxK, auxK, auxKOptions, reconstruction, unitParameters } from "./shared/terms.ts";
import { thresholdInference, thresholdsOf } from "./shared/thresholds.ts";

interface Options extends AuxK, Penalised {
	readonly sources: number;
	readonly select: "relu" | "batchtopk";
	readonly k: number;
}

/** First norm of a latent's decoder in each source (Lindsey et al.). */
const SOURCE_NORM = 0.08;
const L1: Penalty = { value: "f * norm", df: "norm", dnorm: "f", weight: "l1" };

export default definePlugin({
	name: "crosscoder",
	apiVersion: 1,
	contributes(core) {
		const { z, usageError } = core;
		const options = z.object({
			sources: z.int().min(2).default(2).describe("Sources, each of an equal share of the columns"),
			select: z
				.enum(["relu", "batchtopk"])
				.default("relu")
				.describe("Codes: all positive ones, with an L1 penalty; or the largest of the batch, without"),
			l1: l1Option(core, 0.1),
			sparsity_warmup: warmupOption(core, 0.05),
			k: kOption(core, `${ON_AVERAGE}; only with --select batchtopk`),
			...auxKOptions(core),
		});
		return [
			{
				kind: "architecture",
				name: "crosscoder",
				summary: "one dictionary for several layers or models at once, whose columns lie side by side",
				options,
				training(o: Options, { d_in, d_out }) {
					if (d_in % o.sources !== 0) {
						throw usageError(`--sources ${o.sources}: does not divide the ${d_in} columns`);
					}
					return o.select === "relu" ? withPenalty(o) : withBudget(o, d_out);
				},
				settings: ({ sources }: Options) => ({ sources }),
				finish(model) {
					const { d_sae, tensors } = model;
					// What has no threshold keeps all positive codes, and its decoder has any norms.
					if (tensors.threshold)
						return { ...model, tensors: { ...tensors, threshold: thresholdsOf(core, model) } };
					const threshold = { shape: [d_sae], data: new Float32Array(d_sae) };
					return core.foldDecoderNorms({ ...model, tensors: { ...tensors, threshold } });
				},
				inference: (_, { k }) => thresholdInference(k),
			},
		];
	},
});

function withPenalty({ sources, l1, sparsity_warmup }: Options): TrainingSpec {
	const norm = SOURCE_NORM * Math.sqrt(sources);
	return {
		parameters: [
			{ name: "W_dec", shape: ["d_sae", "d_out"], init: { kind: "random_rows", norm } },
			{ name: "W_enc", shape: ["d_sae", "d_in"], init: { kind: "copy", of: "W_dec", scale: 1 } },
			{ name: "b_enc", shape: ["d_sae"], init: { kind: "constant" } },
			{ name: "b_dec", shape: ["d_out"], init: { kind: "constant" } },
		],
		apply_b_dec_to_input: false,
		loss: [reconstruction({ kind: "all" }, { penalty: L1 })],
		scalars: { l1: rising(l1, sparsity_warmup) },
		sparsity: "l1",
		norm_blocks: sources,
	};
}

function withBudget(o: Options, d_out: number): TrainingSpec {
	return {
		parameters: unitParameters("mean"),
		apply_b_dec_to_input: true,
		loss: [reconstruction({ kind: "batch_topk", k: o.k }), ...auxK(o, d_out)],
		norm_blocks: o.sources,
	};
}
