/** Encoder biases from the data: each latent begins by firing at a chosen rate (Anthropic, January 2025). */
import type { Initialisation, Sizes, TrainingSpec } from "../architecture.ts";

/** Multiplications to spend on it, which bounds the rows that are looked at. */
const BUDGET = 4e9;
const FEWEST_ROWS = 64;
const MOST_ROWS = 1024;

/** b_enc [d_sae] such that `rate` of the sample's rows give each latent a pre-activation over the threshold. */
export function firingBiases(
	spec: TrainingSpec,
	{ d_in, d_sae }: Sizes,
	inputs: Float32Array,
	values: Readonly<Record<string, Float32Array>>,
	{ rate, threshold }: Extract<Initialisation, { kind: "firing_rate" }>,
): Float32Array {
	const affordable = Math.max(FEWEST_ROWS, Math.floor(BUDGET / (d_in * d_sae)));
	const rows = Math.min(inputs.length / d_in, affordable, MOST_ROWS);
	const { W_enc, b_dec } = values;
	const biases = new Float32Array(d_sae);
	const seen = new Float32Array(rows);
	for (let latent = 0; latent < d_sae; latent++) {
		for (let row = 0; row < rows; row++) {
			let z = 0;
			for (let i = 0; i < d_in; i++) {
				const x = inputs[row * d_in + i]! - (spec.apply_b_dec_to_input ? b_dec![i]! : 0);
				z += W_enc![latent * d_in + i]! * x;
			}
			seen[row] = z;
		}
		seen.sort();
		biases[latent] = threshold - seen[Math.min(rows - 1, Math.floor(rows * (1 - rate)))]!;
	}
	return biases;
}
