/** What an SAE's weights say of its latents. */
import { transposed } from "../matrix.ts";
import type { SaeModel } from "../sae.ts";

/** Decoder rows, [d_sae, width]; those of a latent that writes nothing are zeros. */
export interface DecoderRows {
	readonly width: number;
	/** Of length 1. */
	readonly unit: Float32Array;
	readonly norms: Float32Array;
}

export function decoderRows({ tensors, d_sae }: Pick<SaeModel, "tensors" | "d_sae">): DecoderRows {
	const { data } = tensors.W_dec!;
	const width = data.length / d_sae;
	const unit = new Float32Array(data.length);
	const norms = new Float32Array(d_sae);
	for (let latent = 0; latent < d_sae; latent++) {
		const first = latent * width;
		let square = 0;
		for (let i = first; i < first + width; i++) square += data[i]! ** 2;
		const norm = Math.sqrt(square);
		norms[latent] = norm;
		if (norm > 0) for (let i = first; i < first + width; i++) unit[i] = data[i]! / norm;
	}
	return { width, unit, norms };
}

/**
 * Cosine between each latent's encoder column and its decoder row, 0 where one of them is zero; undefined where their
 * widths differ, or the encoder has no column for every latent.
 */
export function encoderDecoderCosines(
	{ tensors, d_in, d_sae }: Pick<SaeModel, "tensors" | "d_in" | "d_sae">,
	{ width, unit }: Pick<DecoderRows, "width" | "unit">,
): Float32Array | undefined {
	const W_enc = tensors.W_enc?.data;
	if (!W_enc || width !== d_in || W_enc.length !== d_in * d_sae) return undefined;
	const columns = transposed(W_enc, d_in, d_sae);
	return Float32Array.from({ length: d_sae }, (_, latent) => {
		let [dot, square] = [0, 0];
		for (let i = latent * width; i < (latent + 1) * width; i++) {
			dot += columns[i]! * unit[i]!;
			square += columns[i]! ** 2;
		}
		return square > 0 ? dot / Math.sqrt(square) : 0;
	});
}
