/** SAEs that select over a batch in training, and by thresholds afterwards. */
import type { Core, InferenceSpec, SaeModel, Tensor } from "saeflow";

/** f = z where z is positive and passes the latent's own threshold; with a k, the k largest positive ones instead. */
export function thresholdInference(k?: number): InferenceSpec {
	if (k !== undefined) return { select: { kind: "topk", k } };
	const keep = "z > max(threshold, 0.0)";
	return { select: { kind: "all" }, activation: { keep, value: "z", dz: "1.0" } };
}

/**
 * One threshold per latent [d_sae] from what the selection kept in training: one number for all, or one for each. A
 * latent that never had a code gets the largest, so that it stays silent.
 * @throws SaeError when no batch has set any.
 */
export function thresholdsOf({ SaeError }: Core, { architecture, d_sae, tensors }: SaeModel): Tensor {
	const kept = tensors.threshold?.data ?? new Float32Array(1);
	const largest = kept.reduce((most, value) => Math.max(most, value), 0);
	if (largest === 0) {
		throw new SaeError(
			`this ${architecture} SAE has no threshold yet: no batch gave any latent a code; train it longer`,
		);
	}
	const data = Float32Array.from({ length: d_sae }, (_, i) => kept[kept.length === 1 ? 0 : i]! || largest);
	return { shape: [d_sae], data };
}

/** The SAE as SAELens saves it: a jumprelu one. */
export function asJumpReLU(core: Core, model: SaeModel): SaeModel {
	const tensors = { ...model.tensors, threshold: thresholdsOf(core, model) };
	return { ...model, architecture: "jumprelu", settings: {}, tensors };
}
