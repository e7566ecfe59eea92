/**
 * p-annealing (Karvonen et al. 2024, "Measuring progress in dictionary learning for language model interpretability with
 * board game models"): ReLU with the penalty Σ f^p, whose p falls from 1 to `p_end`, which shrinks large codes less and
 * drives small ones to 0. Decoder rows have unit norm.
 *
 * When the authors lower p, they change the coefficient so that the penalty keeps its size. Here that holds for every
 * batch: the penalty is scaled to the L1 norm that the batch's codes have.
 *
 * Finished SAEs are SAELens' `standard`.
 */
import { definePlugin, type Penalty } from "saeflow";
import {
	asStandard,
	l1Option,
	type Penalised,
	reluInference,
	rising,
	warmupOption,
	withUnitRows,
} from "./shared/penalties.ts";
import { type PreBias, preBiasOption, reconstruction, unitParameters } from "./shared/terms.ts";

interface Options extends Penalised {
	readonly p_end: number;
	readonly p_begin: number;
	readonly p_until: number;
	readonly p_stages: number;
	readonly pre_bias: PreBias;
}

/** Added to codes, so that the slope stays finite at 0. */
const EPSILON = "0.001";
const HELD_LP: Penalty = {
	value: `pow(f + ${EPSILON}, p)`,
	df: `p * pow(f + ${EPSILON}, p - 1.0)`,
	weight: "l1",
	batch: { value: "h", slope: "select(0.0, h / s, s > 0.0)", beside: `f + ${EPSILON}` },
};

export default definePlugin({
	name: "p-anneal",
	apiVersion: 1,
	contributes(core) {
		const { z, usageError } = core;
		const share = z.number().min(0).max(1);
		return [
			{
				kind: "architecture",
				name: "p-anneal",
				summary: "keeps all positive pre-activations; the penalty goes from L1 towards counting them",
				options: z.object({
					l1: l1Option(core, 0.1),
					sparsity_warmup: warmupOption(core, 0.05),
					p_end: z.number().gt(0).max(1).default(0.2).describe("Last p; the first is 1"),
					p_begin: share.default(0.2).describe("Share of the run after which p begins to fall"),
					p_until: share.default(0.8).describe("Share of the run after which p has its last value"),
					p_stages: z.int().min(1).default(10).describe("Equal jumps in which p falls"),
					pre_bias: preBiasOption(core),
				}),
				training({ l1, sparsity_warmup, p_end, p_begin, p_until, p_stages, pre_bias }: Options) {
					if (p_begin > p_until) {
						throw usageError(`--p-begin ${p_begin}: comes after --p-until, which is ${p_until}`);
					}
					return {
						parameters: unitParameters(pre_bias),
						apply_b_dec_to_input: true,
						loss: [reconstruction({ kind: "all" }, { penalty: HELD_LP })],
						scalars: {
							l1: rising(l1, sparsity_warmup),
							p: { from: 1, to: p_end, begin: p_begin, until: p_until, stages: p_stages },
						},
						sparsity: "l1",
					};
				},
				settings: () => ({}),
				finish: (model) => asStandard(core, model),
				restore: withUnitRows(core),
				inference: reluInference,
			},
		];
	},
});
