/** What SAELens 6 keeps of each architecture: its tensors, exactly these, and its settings in `cfg.json`. */

export type Dimension = "d_in" | "d_sae";

export interface Layout {
	readonly tensors: Readonly<Record<string, readonly Dimension[]>>;
	/** Settings an SAE of this architecture needs. */
	readonly settings: readonly string[];
}

const WEIGHTS = { W_enc: ["d_in", "d_sae"], W_dec: ["d_sae", "d_in"], b_dec: ["d_in"] } as const;

export const LAYOUTS: Readonly<Record<string, Layout>> = {
	standard: { tensors: { ...WEIGHTS, b_enc: ["d_sae"] }, settings: [] },
	topk: { tensors: { ...WEIGHTS, b_enc: ["d_sae"] }, settings: ["k"] },
	jumprelu: { tensors: { ...WEIGHTS, b_enc: ["d_sae"], threshold: ["d_sae"] }, settings: [] },
	gated: { tensors: { ...WEIGHTS, b_gate: ["d_sae"], b_mag: ["d_sae"], r_mag: ["d_sae"] }, settings: [] },
};

/** The sizes of a tensor for this SAE. */
export function shapeOf(
	dimensions: readonly Dimension[],
	sizes: { readonly d_in: number; readonly d_sae: number },
): number[] {
	return dimensions.map((dimension) => sizes[dimension]);
}
