/** Small SAEs and data with a seed, for tests. */
import type { SaeModel, Tensor } from "../../core/sae.ts";

/** Uniform numbers in [0, 1) from a seed (mulberry32). */
export function randomStream(seed: number): () => number {
	let state = seed >>> 0;
	return () => {
		state = (state + 0x6d2b79f5) >>> 0;
		let t = Math.imul(state ^ (state >>> 15), 1 | state);
		t = (t + Math.imul(t ^ (t >>> 7), 61 | t)) ^ t;
		return ((t ^ (t >>> 14)) >>> 0) / 2 ** 32;
	};
}

/** Numbers that are uniform in ±scale. */
export function randomTensor(shape: readonly number[], random: () => number, scale = 1): Tensor {
	const length = shape.reduce((product, size) => product * size, 1);
	return { shape, data: Float32Array.from({ length }, () => (random() * 2 - 1) * scale) };
}

/** The same SAE as a transcoder with a skip connection, to targets of another width. */
export function withSkip(model: SaeModel, d_out: number, seed = 1): SaeModel {
	const random = randomStream(seed);
	const { d_in, d_sae, tensors } = model;
	return {
		...model,
		architecture: "transcoder",
		d_out,
		apply_b_dec_to_input: false,
		tensors: {
			...tensors,
			W_dec: randomTensor([d_sae, d_out], random),
			b_dec: randomTensor([d_out], random),
			W_skip: randomTensor([d_out, d_in], random),
		},
	};
}

/** A TopK SAE with random weights and unit decoder rows. */
export function randomTopK(d_in: number, d_sae: number, k: number, seed = 1): SaeModel {
	const random = randomStream(seed);
	const W_dec = randomTensor([d_sae, d_in], random);
	for (let row = 0; row < d_sae; row++) {
		const slice = W_dec.data.subarray(row * d_in, (row + 1) * d_in);
		const norm = Math.hypot(...slice);
		for (let i = 0; i < d_in; i++) slice[i]! /= norm;
	}
	return {
		architecture: "topk",
		d_in,
		d_sae,
		apply_b_dec_to_input: true,
		normalize_activations: "none",
		settings: { k },
		metadata: {},
		tensors: {
			W_enc: randomTensor([d_in, d_sae], random),
			b_enc: randomTensor([d_sae], random, 0.1),
			W_dec,
			b_dec: randomTensor([d_in], random, 0.5),
		},
	};
}
