/** What SAELens' `standard`, `jumprelu` and `gated` compute, by its definition, in float64: the oracle for ours. */
import type { SaeModel, Tensor } from "../../core/sae.ts";
import { randomStream, randomTensor, randomTopK } from "./models.ts";

export const ARCHITECTURES = ["standard", "jumprelu", "gated"] as const;

/** An SAE with random weights, and with thresholds and gates that some latents pass and some don't. */
export function randomSae(
	architecture: (typeof ARCHITECTURES)[number],
	{ d_in = 7, d_sae = 40, centred = true } = {},
): SaeModel {
	const { b_enc, ...weights } = randomTopK(d_in, d_sae, 1, 3).tensors;
	const random = randomStream(4);
	const perLatent = (low: number, high: number): Tensor => {
		const shape = [d_sae];
		return { shape, data: Float32Array.from({ length: d_sae }, () => low + (high - low) * random()) };
	};
	// Rows of any norm, which folding has to see to.
	const W_dec = randomTensor([d_sae, d_in], random);
	const own = {
		standard: () => ({ b_enc: b_enc! }),
		jumprelu: () => ({ b_enc: b_enc!, threshold: perLatent(-0.2, 1) }),
		gated: () => ({ b_gate: perLatent(-1, 0.5), b_mag: perLatent(-1, 1), r_mag: perLatent(-0.7, 0.7) }),
	}[architecture]();
	return {
		architecture,
		d_in,
		d_sae,
		apply_b_dec_to_input: centred,
		normalize_activations: "none",
		settings: {},
		metadata: {},
		tensors: { ...weights, W_dec, ...own },
	};
}

/** Feature activations [rows, d_sae] of `x` [rows, d_in]. */
export function encodeBySaeLens(model: SaeModel, x: ArrayLike<number>, rows: number): Float64Array {
	const { d_in, d_sae, tensors, apply_b_dec_to_input } = model;
	const { W_enc, b_enc, b_dec, threshold, b_gate, b_mag, r_mag } = tensors;
	const relu = (value: number) => Math.max(value, 0);
	const acts = new Float64Array(rows * d_sae);
	for (let row = 0; row < rows; row++) {
		for (let latent = 0; latent < d_sae; latent++) {
			let product = 0;
			for (let i = 0; i < d_in; i++) {
				const input = x[row * d_in + i]! - (apply_b_dec_to_input ? b_dec!.data[i]! : 0);
				product += input * W_enc!.data[i * d_sae + latent]!;
			}
			const at = (tensor: Tensor | undefined) => tensor!.data[latent]!;
			let act: number;
			if (model.architecture === "gated") {
				const active = product + at(b_gate) > 0;
				act = active ? relu(product * Math.exp(at(r_mag)) + at(b_mag)) : 0;
			} else {
				const pre = product + at(b_enc);
				act = model.architecture === "standard" || pre > at(threshold) ? relu(pre) : 0;
			}
			acts[row * d_sae + latent] = act;
		}
	}
	return acts;
}

/** Reconstructions [rows, d_in] of activations [rows, d_sae]. */
export function decodeBySaeLens({ d_in, d_sae, tensors }: SaeModel, acts: Float64Array): Float64Array {
	const { W_dec, b_dec } = tensors;
	return Float64Array.from({ length: (acts.length / d_sae) * d_in }, (_, at) => {
		const [row, column] = [Math.floor(at / d_in), at % d_in];
		let sum = b_dec!.data[column]!;
		for (let latent = 0; latent < d_sae; latent++)
			sum += acts[row * d_sae + latent]! * W_dec!.data[latent * d_in + column]!;
		return sum;
	});
}
