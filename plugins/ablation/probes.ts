/**
 * Linear probes on activations, and what is left of them when latents are taken out. As x = x̂ + error and the probe is
 * linear, taking latent i out lowers its logit by f_i · (w · W_dec,i): nothing has to be decoded, and means over the rows
 * of an example take part as they are.
 */
import type { SaeModel } from "saeflow";
import { denseDesign, type Example } from "../probing/examples.ts";
import { logisticRegression } from "../probing/logistic.ts";

export interface LinearProbe {
	readonly weights: Float64Array;
	readonly bias: number;
	/** What one unit of each latent adds to the logit. */
	readonly along: Float64Array;
}

/** Examples, and whether each is of the class. */
export interface Labelled {
	readonly examples: readonly Example[];
	readonly labels: readonly number[];
}

export function linearProbe({ examples, labels }: Labelled, { d_in, d_sae, tensors }: SaeModel): LinearProbe {
	const design = denseDesign(
		examples.map(({ activations }) => activations),
		d_in,
	);
	const { weights, bias } = logisticRegression(design, labels);
	const W_dec = tensors.W_dec!.data;
	const along = Float64Array.from({ length: d_sae }, (_, latent) => {
		let sum = 0;
		for (let i = 0; i < d_in; i++) sum += weights[i]! * W_dec[latent * d_in + i]!;
		return sum;
	});
	return { weights, bias, along };
}

/**
 * Latents by how much they have to do with the probe's class: (mean over the class − mean over the rest) · along, the
 * largest first and no zeros; the lower of equal ones first.
 *
 * @param by `rise`: only latents that are more active on the class count, and only towards it; `size`: all, by magnitude.
 */
export function attributed(
	{ examples, labels }: Labelled,
	{ along }: LinearProbe,
	by: "rise" | "size",
): number[] {
	const difference = new Float64Array(along.length);
	const positives = labels.reduce((sum, label) => sum + label, 0);
	for (const [i, { latents }] of examples.entries()) {
		const share = labels[i] ? 1 / positives : -1 / (labels.length - positives);
		for (const [entry, latent] of latents.index.entries()) {
			difference[latent]! += share * latents.value[entry]!;
		}
	}
	const effect = difference.map((value, latent) =>
		by === "rise" ? Math.max(0, value) * along[latent]! : Math.abs(value * along[latent]!),
	);
	return Array.from(effect.keys())
		.filter((latent) => effect[latent]! > 0)
		.sort((a, b) => effect[b]! - effect[a]! || a - b);
}

/** Share of the examples on whose side of zero their label is, with some latents taken out. */
export function accuracyWithout(
	{ examples, labels }: Labelled,
	{ weights, bias, along }: LinearProbe,
	latents: readonly number[] = [],
): number {
	const gone = new Set(latents);
	const right = examples.filter(({ activations, latents: own }, i) => {
		let logit = bias;
		for (let d = 0; d < weights.length; d++) logit += weights[d]! * activations[d]!;
		for (const [entry, latent] of own.index.entries()) {
			if (gone.has(latent)) logit -= own.value[entry]! * along[latent]!;
		}
		return logit > 0 === Boolean(labels[i]);
	});
	return right.length / examples.length;
}
