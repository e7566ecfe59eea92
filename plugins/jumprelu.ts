/**
 * JumpReLU: each latent keeps a pre-activation that passes its own threshold, which is learned through a step by
 * straight-through estimates: a window of width `bandwidth` around the threshold stands for the step's slope. Two
 * recipes; in both the encoder sees x itself, and the trained parameter is the threshold's logarithm.
 *
 * `gdm` (Rajamanoharan et al. 2024, "Jumping ahead: improving reconstruction fidelity with JumpReLU sparse
 * autoencoders"): counts active latents, which moves nothing but thresholds; decoder rows have unit norm. With
 * `--penalty quadratic`, weight · (L0 / target − 1)² of the batch's mean L0.
 *
 * `anthropic` (Anthropic, January 2025, "Dictionary learning optimization techniques"): tanh(c · f · norm), with free
 * decoder norms. Their numbers are for data of mean norm √d_in. For ours, of mean square norm 1, codes, biases,
 * threshold (0.1) and bandwidth (2) are divided by √d_in, c is multiplied by it, the weight of tanh is divided by d_in,
 * and that of the pre-activation loss (3e-6) by √d_in. The page's gradient leaves out a factor exp(log threshold), which
 * Adam takes out again for the most part; here it is there.
 *
 * The first bias of every latent is such that it fires on a share of the data (Anthropic), and a pre-activation loss
 * pulls dead latents towards their thresholds: in both recipes, for the one of `gdm` has no help for dead latents.
 * docs/architectures.md says where defaults differ from the papers' and why.
 *
 * Finished SAEs are SAELens' `jumprelu`, with decoder norms folded into codes and thresholds.
 */
import {
	type Activation,
	definePlugin,
	type ParameterSpec,
	type Penalty,
	type SaeModel,
	type Sizes,
	type TrainingSpec,
} from "saeflow";
import { rising, warmupOption, withUnitRows } from "./shared/penalties.ts";
import { type PreBias, preBiasOption, reconstruction, unitParameters } from "./shared/terms.ts";
import { thresholdInference } from "./shared/thresholds.ts";

interface Options {
	readonly recipe: "gdm" | "anthropic";
	readonly penalty: "l0" | "quadratic";
	readonly l0_weight?: number | undefined;
	readonly penalty_l0?: number | undefined;
	readonly sparsity_warmup: number;
	readonly threshold?: number | undefined;
	readonly bandwidth?: number | undefined;
	readonly tanh_scale: number;
	readonly firing_rate?: number | undefined;
	readonly dead_weight: number;
	readonly pre_bias: PreBias;
}

/** A latent's threshold, and whether z is where the window around it stands for the step's slope. */
const THRESHOLD = "exp(log_threshold)";
const IN_WINDOW = `abs(z - ${THRESHOLD}) < 0.5 * bandwidth`;
const JUMP: Activation = {
	keep: `z > ${THRESHOLD} - 0.5 * bandwidth`,
	value: `select(0.0, z, z > ${THRESHOLD})`,
	dz: `select(0.0, 1.0, z > ${THRESHOLD})`,
	d: { log_threshold: `select(0.0, -${THRESHOLD} * ${THRESHOLD} / bandwidth, ${IN_WINDOW})` },
};

const L0: Penalty = {
	value: `select(0.0, 1.0, z > ${THRESHOLD})`,
	d: { log_threshold: `select(0.0, -${THRESHOLD} / bandwidth, ${IN_WINDOW})` },
	weight: "l0_weight",
};
const QUADRATIC: Penalty = {
	...L0,
	batch: {
		value: "(s / penalty_l0 - 1.0) * (s / penalty_l0 - 1.0)",
		slope: "2.0 * (s / penalty_l0 - 1.0) / penalty_l0",
	},
};
const TANH_SLOPE = "(1.0 - tanh(tanh_scale * f * norm) * tanh(tanh_scale * f * norm))";
const TANH: Penalty = {
	value: "tanh(tanh_scale * f * norm)",
	df: `tanh_scale * norm * ${TANH_SLOPE}`,
	dnorm: `tanh_scale * f * ${TANH_SLOPE}`,
	weight: "l0_weight",
};

/** Latents that fire this often in all, or on this share of the data if that is less, begin with useful gradients. */
const FIRINGS = 10_000;
const MOST_FIRING = 0.05;

/** Thresholds of other SAEs that are not over 0, which keep all positive codes, are taken for this. */
const LEAST_THRESHOLD = 1e-6;

export default definePlugin({
	name: "jumprelu",
	apiVersion: 1,
	contributes(core) {
		const { z, usageError } = core;
		const ofUnitRows = withUnitRows(core);
		const size = z.number().positive().optional();
		const options = z.object({
			recipe: z
				.enum(["gdm", "anthropic"])
				.default("gdm")
				.describe("Penalty, decoder norms and defaults of Google DeepMind's or of Anthropic's paper"),
			penalty: z
				.enum(["l0", "quadratic"])
				.default("l0")
				.describe("Of gdm: L0, or the square of its relative distance from --penalty-l0"),
			l0_weight: z
				.number()
				.min(0)
				.optional()
				.describe("Weight of the penalty, for rows of mean square norm 1; by default 0.005, of quadratic 1"),
			penalty_l0: size.describe("L0 that --penalty quadratic leads to"),
			sparsity_warmup: warmupOption(core, 0.1),
			threshold: size.describe("First threshold; by default 0.1, of anthropic 0.1 / sqrt(d_in)"),
			bandwidth: size.describe(
				"Width of the window around the threshold; by default 0.1, of anthropic 2 / sqrt(d_in)",
			),
			tanh_scale: z
				.number()
				.positive()
				.default(1)
				.describe("c of anthropic's tanh(c · sqrt(d_in) · f · norm); 4 in the paper"),
			firing_rate: z
				.number()
				.min(0)
				.lt(1)
				.optional()
				.describe(
					"Share of rows on which each latent fires at first; by default 10000 / d_sae, at most 0.05; 0: b_enc starts at 0",
				),
			dead_weight: z
				.number()
				.min(0)
				.default(1e-3)
				.describe("Weight of the pre-activation loss, which revives dead latents; 0 turns it off"),
			pre_bias: preBiasOption(core),
		});
		return [
			{
				kind: "architecture",
				name: "jumprelu",
				summary: "keeps what passes a latent's own threshold, which is learned; a penalty on L0",
				options,
				training(o: Options, sizes): TrainingSpec {
					if (o.recipe === "anthropic" && o.penalty === "quadratic") {
						throw usageError("--penalty quadratic: belongs to --recipe gdm");
					}
					if ((o.penalty === "quadratic") !== (o.penalty_l0 !== undefined)) {
						throw usageError("--penalty quadratic and --penalty-l0 need each other");
					}
					return describe(o, sizes);
				},
				settings: () => ({}),
				finish(model): SaeModel {
					const { log_threshold, ...tensors } = model.tensors;
					const { shape, data } = log_threshold!;
					const threshold = { shape, data: data.map(Math.exp) };
					return core.foldDecoderNorms({ ...model, tensors: { ...tensors, threshold } });
				},
				restore(model) {
					const { threshold, ...tensors } = ofUnitRows(model);
					const data = threshold!.data.map((value) => Math.log(Math.max(value, LEAST_THRESHOLD)));
					return { ...tensors, log_threshold: { ...threshold!, data } };
				},
				inference: (_, { k }) => thresholdInference(k),
			},
		];
	},
});

function describe(o: Options, sizes: Sizes): TrainingSpec {
	const anthropic = o.recipe === "anthropic";
	const unit = anthropic ? 1 / Math.sqrt(sizes.d_in) : 1;
	const threshold = o.threshold ?? 0.1 * unit;
	const penalty = anthropic ? TANH : o.penalty === "quadratic" ? QUADRATIC : L0;
	const weight = o.l0_weight ?? (penalty === QUADRATIC ? 1 : 0.005);
	return {
		parameters: [
			...matrices(o, sizes, threshold),
			{ name: "log_threshold", shape: ["d_sae"], init: { kind: "constant", value: Math.log(threshold) } },
		],
		apply_b_dec_to_input: false,
		loss: [reconstruction({ kind: "all" }, { activation: JUMP, penalty })],
		scalars: {
			l0_weight: rising(weight, o.sparsity_warmup),
			bandwidth: o.bandwidth ?? (anthropic ? 2 * unit : 0.1),
			...(anthropic ? { tanh_scale: o.tanh_scale / unit } : {}),
			...(o.penalty_l0 === undefined ? {} : { penalty_l0: o.penalty_l0 }),
		},
		// The quadratic penalty goes its own way to its own L0.
		...(penalty === QUADRATIC ? {} : { sparsity: "l0_weight" }),
		...(o.dead_weight === 0
			? {}
			: {
					revival: {
						weight: o.dead_weight,
						threshold: THRESHOLD,
						dthreshold: { log_threshold: THRESHOLD },
					},
				}),
	};
}

/** W_enc, W_dec and biases. */
function matrices(
	{ recipe, pre_bias, firing_rate }: Options,
	{ d_in, d_sae }: Sizes,
	threshold: number,
): ParameterSpec[] {
	const rate = firing_rate ?? Math.min(MOST_FIRING, FIRINGS / d_sae);
	const own: Record<string, Pick<ParameterSpec, "init" | "constraint">> = {
		b_enc: { init: rate === 0 ? { kind: "constant" } : { kind: "firing_rate", rate, threshold } },
	};
	if (recipe === "anthropic") {
		own.W_dec = { init: { kind: "uniform", bound: 1 / Math.sqrt(d_in) } };
		own.W_enc = { init: { kind: "copy", of: "W_dec", scale: d_in / d_sae } };
	}
	return unitParameters(pre_bias).map(({ name, shape, ...usual }) => ({
		name,
		shape,
		...(own[name] ?? usual),
	}));
}
