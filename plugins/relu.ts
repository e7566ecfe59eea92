/**
 * ReLU with an L1 penalty, in two forms.
 *
 * `norm_l1` weighs each latent by its decoder's norm, which is free, and the encoder sees x itself (Anthropic, April
 * 2024, "Update on how we train SAEs"). Their coefficient of 5 is for data of mean norm √d_in: here it is 5 / √d_in, 0.1
 * for d_in 2500.
 *
 * `l1` penalises plain codes, with decoder rows of unit norm and an encoder that sees x − b_dec (Bricken et al. 2023,
 * "Towards monosemanticity").
 *
 * Finished SAEs are SAELens' `standard`, with decoder norms folded into the codes.
 */
import { type ArchitectureContribution, definePlugin, type ParameterSpec, type Penalty } from "saeflow";
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
	readonly penalty: "norm_l1" | "l1";
	readonly pre_bias: PreBias;
}

/** Of decoder rows at the start, where their norm is free. */
const FIRST_NORM = 0.1;
const FREE: readonly ParameterSpec[] = [
	{ name: "W_dec", shape: ["d_sae", "d_out"], init: { kind: "random_rows", norm: FIRST_NORM } },
	{ name: "W_enc", shape: ["d_sae", "d_in"], init: { kind: "copy", of: "W_dec", scale: 1 } },
	{ name: "b_enc", shape: ["d_sae"], init: { kind: "constant" } },
	{ name: "b_dec", shape: ["d_out"], init: { kind: "constant" } },
];

const PENALTIES: Readonly<Record<Options["penalty"], Penalty>> = {
	norm_l1: { value: "f * norm", df: "norm", dnorm: "f", weight: "l1" },
	l1: { value: "f", df: "1.0", weight: "l1" },
};

export default definePlugin({
	name: "relu",
	apiVersion: 1,
	contributes(core) {
		const { z } = core;
		const relu = {
			kind: "architecture",
			name: "relu",
			summary: "keeps all positive pre-activations; an L1 penalty makes them few",
			options: z.object({
				penalty: z
					.enum(["norm_l1", "l1"])
					.default("norm_l1")
					.describe("L1 of codes times decoder norms, which are free; or of codes, with decoder norms of 1"),
				l1: l1Option(core, 0.1),
				sparsity_warmup: warmupOption(core, 0.05),
				pre_bias: preBiasOption(core).describe("Where b_dec starts; only with --penalty l1"),
			}),
			training: ({ penalty, l1, sparsity_warmup, pre_bias }: Options) => ({
				parameters: penalty === "l1" ? unitParameters(pre_bias) : FREE,
				apply_b_dec_to_input: penalty === "l1",
				loss: [reconstruction({ kind: "all" }, { penalty: PENALTIES[penalty] })],
				scalars: { l1: rising(l1, sparsity_warmup) },
				sparsity: "l1",
			}),
			settings: () => ({}),
			finish: (model) => asStandard(core, model),
			restore: withUnitRows(core),
			inference: reluInference,
		} satisfies ArchitectureContribution<Options>;
		// What finished ones are called has to have a plugin too, and may as well be trained by that name.
		return [relu, { ...relu, name: "standard", summary: "relu, by the name that SAELens has for it" }];
	},
});
