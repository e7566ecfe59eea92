/**
 * Gated SAEs (Rajamanoharan et al. 2024, "Improving dictionary learning with gated sparse autoencoders"): one path, the
 * gate, decides which latents are active, another how much, so that the L1 penalty on the gate does not shrink codes.
 * Both share W_enc but for a factor exp(r_mag) and their biases.
 *
 * No gradient passes the gate's step. It learns from L1, and from a second reconstruction by its own pre-activations,
 * whose decoder is frozen. While training, b_enc is the gate's bias.
 */
import { type Activation, definePlugin, type LossTerm, type SaeModel } from "saeflow";
import { l1Option, type Penalised, rising, warmupOption, withUnitRows } from "./shared/penalties.ts";
import { type PreBias, preBiasOption, reconstruction, unitParameters } from "./shared/terms.ts";

interface Options extends Penalised {
	readonly pre_bias: PreBias;
}

const MAGNITUDE = "exp(r_mag) * (z - b_enc) + b_mag";
const GATED: Activation = {
	keep: `z > 0.0 && ${MAGNITUDE} > 0.0`,
	value: MAGNITUDE,
	dz: "exp(r_mag)",
	d: { b_enc: "-exp(r_mag)", r_mag: "exp(r_mag) * (z - b_enc)", b_mag: "1.0" },
};
const GATE: LossTerm = {
	...reconstruction({ kind: "all" }),
	name: "gate",
	decoder: "frozen",
	penalty: { value: "f", df: "1.0", weight: "l1" },
};

/** Without b_enc, z is x·W_enc. */
const SAVED: Activation = {
	keep: "z + b_gate > 0.0 && exp(r_mag) * z + b_mag > 0.0",
	value: "exp(r_mag) * z + b_mag",
	dz: "exp(r_mag)",
};

export default definePlugin({
	name: "gated",
	apiVersion: 1,
	contributes(core) {
		const { z, usageError } = core;
		const ofUnitRows = withUnitRows(core);
		return [
			{
				kind: "architecture",
				name: "gated",
				summary: "decides which latents are active apart from how much, so that the L1 penalty shrinks none",
				options: z.object({
					l1: l1Option(core, 0.2),
					sparsity_warmup: warmupOption(core, 0.05),
					pre_bias: preBiasOption(core),
				}),
				training: ({ l1, sparsity_warmup, pre_bias }: Options) => ({
					parameters: [
						...unitParameters(pre_bias),
						{ name: "r_mag", shape: ["d_sae"], init: { kind: "constant" } },
						{ name: "b_mag", shape: ["d_sae"], init: { kind: "constant" } },
					],
					apply_b_dec_to_input: true,
					loss: [reconstruction({ kind: "all" }, { activation: GATED }), GATE],
					scalars: { l1: rising(l1, sparsity_warmup) },
					sparsity: "l1",
				}),
				settings: () => ({}),
				finish(model): SaeModel {
					const { b_enc, ...tensors } = model.tensors;
					return { ...model, tensors: { ...tensors, b_gate: b_enc! } };
				},
				restore(model) {
					const { b_gate, ...tensors } = ofUnitRows(model);
					return { ...tensors, b_enc: b_gate! };
				},
				inference(_, { k }) {
					if (k !== undefined)
						throw usageError("--k: a gated SAE's own gates decide which latents are active");
					return { select: { kind: "all" }, activation: SAVED };
				},
			},
		];
	},
});
