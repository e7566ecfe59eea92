/**
 * Archetypal SAEs (Fel et al. 2025, "Archetypal SAE: adaptive and stable dictionary learning for concept extraction in
 * large vision models"): every decoder row is a mixture of points of the data, and so stays within them; runs with
 * different seeds then find more of the same latents. The points are k-means centres of a sample; `delta` is how far a
 * row may leave their hull (RA-SAE), 0 for not at all (A-SAE). Codes are TopK's, and AuxK revives dead latents.
 *
 * The finished SAE is a topk one, whose decoder rows have any norm.
 */
import { definePlugin, type ParameterSpec } from "saeflow";
import { kOption, topkInference } from "./shared/budget.ts";
import { type AuxK, auxK, auxKOptions, reconstruction } from "./shared/terms.ts";

interface Options extends AuxK {
	readonly k: number;
	readonly candidates?: number | undefined;
	readonly delta: number;
}

/** Candidates at most, unless told: k-means of many more takes minutes, and mixtures grow with them. */
const MOST_CANDIDATES = 2048;
/** The paper's 1 is for activations of its models; of 0, 0.1, 0.3 and 1, this one found most of toy rows (docs/architectures.md). */
const DELTA = 0.3;
/** Share of delta that atoms of one candidate begin apart from each other. */
const APART = 0.1;

export default definePlugin({
	name: "archetypal",
	apiVersion: 1,
	contributes(core) {
		const { z, usageError } = core;
		const options = z.object({
			k: kOption(core),
			candidates: z
				.int()
				.min(1)
				.optional()
				.describe(
					`Points that decoder rows are mixtures of; as many as latents unless given, at most ${MOST_CANDIDATES}`,
				),
			delta: z
				.number()
				.min(0)
				.default(DELTA)
				.describe("How far decoder rows may be from the points' hull, for rows of mean square norm 1"),
			...auxKOptions(core),
		});
		return [
			{
				kind: "architecture",
				name: "archetypal",
				summary:
					"topk whose decoder rows are mixtures of points of the data, for dictionaries that are stable",
				options,
				training(o: Options, { d_out, d_sae }) {
					const n = o.candidates ?? Math.min(d_sae, MOST_CANDIDATES);
					if (n < d_sae && o.delta === 0) {
						throw usageError(
							`--candidates ${n}: with --delta 0 there must be at least as many as the ${d_sae} latents, which would begin alike and stay so`,
						);
					}
					return {
						parameters: [...decoder(n, n < d_sae ? APART * o.delta : 0), ...ENCODER],
						decoder: { kind: "archetypal", delta: o.delta },
						apply_b_dec_to_input: true,
						loss: [reconstruction({ kind: "topk", k: o.k }), ...auxK(o, d_out)],
					};
				},
				settings: ({ k }: Options) => ({ k }),
				finish(model) {
					const { W_enc, b_enc, W_dec, b_dec } = model.tensors;
					const tensors = { W_enc: W_enc!, b_enc: b_enc!, W_dec: W_dec!, b_dec: b_dec! };
					return { ...model, architecture: "topk", tensors };
				},
				// A saved SAE's decoder rows are candidates themselves, so there must be as many of these as latents.
				restore({ d_sae, tensors }) {
					const { W_dec } = tensors;
					const mixture = new Float32Array(d_sae * d_sae);
					for (let latent = 0; latent < d_sae; latent++) mixture[latent * d_sae + latent] = 1;
					return {
						...tensors,
						candidates: W_dec!,
						mixture: { shape: [d_sae, d_sae], data: mixture },
						relaxation: { shape: W_dec!.shape, data: new Float32Array(W_dec!.data.length) },
						log_scale: { shape: [1], data: new Float32Array(1) },
					};
				},
				inference: topkInference(core),
			},
		];
	},
});

/** W_dec, made of `n` candidates; its rows begin `apart` from them, each in a direction of its own. */
function decoder(n: number, apart: number): ParameterSpec[] {
	return [
		{ name: "candidates", shape: [n, "d_out"], init: { kind: "k_means" } },
		{ name: "mixture", shape: ["d_sae", n], init: { kind: "one_hot_rows" } },
		{
			name: "relaxation",
			shape: ["d_sae", "d_out"],
			init: apart > 0 ? { kind: "random_rows", norm: apart } : { kind: "constant" },
		},
		{ name: "log_scale", shape: [1], init: { kind: "constant" } },
		{ name: "W_dec", shape: ["d_sae", "d_out"], init: { kind: "derived" } },
	];
}

const ENCODER: readonly ParameterSpec[] = [
	{ name: "W_enc", shape: ["d_sae", "d_in"], init: { kind: "copy", of: "W_dec", scale: 1 } },
	{ name: "b_enc", shape: ["d_sae"], init: { kind: "constant" } },
	// Candidates are seen from the mean.
	{ name: "b_dec", shape: ["d_out"], init: { kind: "data_centre", method: "mean" } },
];
