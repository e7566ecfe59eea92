/** Pieces that the descriptions of several families are made of. */
import type { Core, InferenceSpec, LossTerm, ParameterSpec, Selection } from "saeflow";

export type PreBias = "geometric_median" | "mean" | "zeros";

export function preBiasOption({ z }: Core) {
	return z
		.enum(["geometric_median", "mean", "zeros"])
		.default("geometric_median")
		.describe("Where b_dec starts");
}

/** Random decoder rows that keep unit norm, the encoder their transpose times `gain`, b_dec in the data's centre. */
export function unitParameters(pre_bias: PreBias, gain = 1): ParameterSpec[] {
	return [
		{ name: "W_dec", shape: ["d_sae", "d_out"], init: { kind: "random_rows" }, constraint: "unit_rows" },
		{ name: "W_enc", shape: ["d_sae", "d_in"], init: { kind: "copy", of: "W_dec", scale: gain } },
		{ name: "b_enc", shape: ["d_sae"], init: { kind: "constant" } },
		{
			name: "b_dec",
			shape: ["d_out"],
			init: pre_bias === "zeros" ? { kind: "constant" } : { kind: "data_centre", method: pre_bias },
		},
	];
}

/** The SAE's own reconstruction of the data: squared error, summed over dimensions. */
export function reconstruction(select: Selection, further: Partial<LossTerm> = {}): LossTerm {
	return {
		name: "reconstruction",
		latents: "all",
		select,
		target: "data",
		bias: true,
		reduction: "sum",
		weight: 1,
		...further,
	};
}

export interface AuxK {
	readonly aux_weight: number;
	readonly k_aux?: number | undefined;
}

export function auxKOptions({ z }: Core) {
	return {
		aux_weight: z
			.number()
			.min(0)
			.default(1 / 32)
			.describe("Weight of the AuxK loss, which revives dead latents; 0 turns it off"),
		k_aux: z
			.int()
			.min(1)
			.max(512)
			.optional()
			.describe("Dead latents that AuxK uses per row; half of the width that is reconstructed unless given"),
	};
}

/**
 * AuxK (Gao et al. 2024): dead latents reconstruct what the others leave. No term where its weight is 0.
 * @param signed Whether its codes are those farthest from 0, with their sign.
 */
export function auxK({ aux_weight, k_aux }: AuxK, d_out: number, signed = false): LossTerm[] {
	if (aux_weight === 0) return [];
	const k = k_aux ?? Math.min(512, Math.max(1, Math.floor(d_out / 2)));
	return [
		{
			name: "auxk",
			latents: "dead",
			...(signed ? farthest(k) : { select: { kind: "topk", k } }),
			target: "residual",
			bias: false,
			reduction: "variance",
			weight: aux_weight,
		},
	];
}

/** The k pre-activations of each row that are farthest from 0, with their sign. */
export function farthest(k: number): Required<InferenceSpec> {
	return {
		select: { kind: "topk", k, by: "magnitude" },
		activation: { keep: "z != 0.0", value: "z", dz: "1.0" },
	};
}
