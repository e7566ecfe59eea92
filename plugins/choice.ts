/**
 * Mutual Choice and Feature Choice (Ayonrinde 2024, "Adaptive sparse allocation with mutual choice & feature choice
 * sparse autoencoders"): codes are shared out over a whole batch. In Mutual Choice rows and latents compete for all
 * k · rows of them (which is BatchTopK); in Feature Choice every latent has a quota, the same for all or falling with
 * its rank as Zipf's law has it.
 *
 * The auxiliary loss generalises AuxK: latents take part that fire less than a share of what they ought to. For Feature
 * Choice that is their quota; for Mutual Choice it follows from a Zipf law that is fitted to all latents' densities,
 * and what the paper calls aux_zipf_loss. How such a law is fitted is our choice (maximum likelihood).
 */
import { type Core, definePlugin, type SaeModel, type TrainingSpec } from "saeflow";
import { byLatent, fitExponent, ranking, zipfShares } from "./choice/zipf.ts";
import { type Budgeted, budgetOptions, kOption, ON_AVERAGE } from "./shared/budget.ts";
import { type AuxK, auxK, reconstruction, unitParameters } from "./shared/terms.ts";
import { asJumpReLU, thresholdInference } from "./shared/thresholds.ts";

interface Shared extends Budgeted {
	readonly least_use: number;
	readonly allocate_every: number;
}

interface FeatureChoice extends Shared {
	readonly quota: "uniform" | "zipf";
	readonly zipf_exponent: number;
	readonly zipf_shift: number;
}

type Plan = NonNullable<TrainingSpec["allocation"]>["plan"];

function sharedOptions(core: Core) {
	const { z } = core;
	return {
		k: kOption(core, ON_AVERAGE),
		...budgetOptions(core),
		least_use: z
			.number()
			.min(0)
			.max(1)
			.default(0.1)
			.describe("Share of the codes it ought to have under which a latent takes part in the auxiliary loss"),
		allocate_every: z.int().min(1).default(100).describe("Updates after which codes are shared out anew"),
	};
}

/** Latents that fire less than a share of what a Zipf law fitted to all has for their rank. */
export function mutualPlan(least_use: number): Plan {
	return (density) => {
		const latents = ranking(density);
		const sorted = Float64Array.from(latents, (latent) => density[latent]!);
		const total = sorted.reduce((a, b) => a + b, 0);
		if (total === 0) return { floor: new Float32Array(density.length) };
		const law = { exponent: fitExponent(sorted, 0), shift: 0 };
		const targets = byLatent(zipfShares(density.length, total, law), latents);
		return { floor: targets.map((target) => least_use * target) };
	};
}

/** Quotas that fall with the latents' rank, k codes per row in all. */
export function featurePlan({
	k,
	least_use,
	quota,
	zipf_exponent,
	zipf_shift,
}: Omit<FeatureChoice, keyof AuxK>): Plan {
	const law = { exponent: quota === "uniform" ? 0 : zipf_exponent, shift: zipf_shift };
	return (density) => {
		const quotas = byLatent(zipfShares(density.length, k, law), ranking(density));
		return { quota: quotas, floor: quotas.map((own) => least_use * own) };
	};
}

export default definePlugin({
	name: "choice",
	apiVersion: 1,
	contributes(core) {
		const { z } = core;
		const describe = (
			o: Shared,
			d_out: number,
			select: "batch_topk" | "feature_topk",
			plan: Plan,
		): TrainingSpec => ({
			parameters: unitParameters(o.pre_bias),
			apply_b_dec_to_input: true,
			loss: [
				reconstruction(select === "batch_topk" ? { kind: select, k: o.k } : { kind: select }),
				...auxK(o, d_out),
			],
			allocation: { every: o.allocate_every, plan },
		});
		const saved = {
			settings: () => ({}),
			finish: (model: SaeModel) => asJumpReLU(core, model),
			inference: (_: SaeModel, { k }: { k?: number }) => thresholdInference(k),
		};
		return [
			{
				kind: "architecture",
				name: "mutual-choice",
				summary:
					"BatchTopK with an auxiliary loss for all latents that fire less than Zipf's law has for them",
				options: z.object(sharedOptions(core)),
				training: (o: Shared, { d_out }) => describe(o, d_out, "batch_topk", mutualPlan(o.least_use)),
				...saved,
			},
			{
				kind: "architecture",
				name: "feature-choice",
				summary: "gives every latent a quota of the batch's codes, the same or by Zipf's law",
				options: z.object({
					...sharedOptions(core),
					quota: z
						.enum(["uniform", "zipf"])
						.default("uniform")
						.describe("Whether quotas are the same for all, or fall with the rank of a latent's density"),
					zipf_exponent: z
						.number()
						.min(0)
						.default(0.5)
						.describe(
							"How steeply quotas fall: they go with (rank + shift)^-exponent; only with --quota zipf",
						),
					zipf_shift: z.number().min(0).default(0).describe("Shift of the ranks; only with --quota zipf"),
				}),
				training(o: FeatureChoice, { d_out, d_sae }) {
					if (o.k > d_sae) throw core.usageError(`--k ${o.k}: there are only ${d_sae} latents`);
					return describe(o, d_out, "feature_topk", featurePlan(o));
				},
				...saved,
			},
		];
	},
});
