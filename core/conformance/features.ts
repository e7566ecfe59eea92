/** Features whose meaning is known: every latent stands for a word. */
import type { Feature, FeatureExample } from "../arrow/features.ts";
import { CounterRng } from "../random.ts";

const CONTEXT = 12;
const FILLERS = ["the", "of", "and", "to", "a", "in", "is", "that", "for", "it", "as", "was"].map(
	(word) => ` ${word}`,
);

/** The word that a latent is active on, and no other latent. */
export function toyWord(latent: number): string {
	return ` word${latent}`;
}

/** Every context has the latent's word once, among words that mean nothing. */
export function toyFeatures(latents: number, examples = 40): Feature[] {
	return Array.from({ length: latents }, (_, latent) => {
		const random = new CounterRng(3).derive(latent);
		const all = Array.from({ length: examples }, (_, i) => toyExample(latent, i, examples, random.derive(i)));
		return {
			latent,
			count: examples,
			density: examples / (latents * examples * CONTEXT),
			mean: all.reduce((sum, { value }) => sum + value, 0) / examples,
			min: all.at(-1)!.value,
			max: all[0]!.value,
			histogram: { start: 0, width: 1, counts: Uint32Array.of(examples) },
			decoder_norm: 1,
			encoder_decoder_cosine: null,
			top: all.slice(0, examples / 2),
			samples: all.slice(examples / 2),
			top_logits: [],
			bottom_logits: [],
			nearest: [],
			cooccurring: [],
		};
	});
}

function toyExample(latent: number, i: number, examples: number, random: CounterRng): FeatureExample {
	const at = Math.floor(random.uniform(0) * CONTEXT);
	const value = 2 - i / examples;
	const texts = Array.from({ length: CONTEXT }, (_, j) =>
		j === at ? toyWord(latent) : FILLERS[Math.floor(random.uniform(j + 1) * FILLERS.length)]!,
	);
	const values = new Float32Array(CONTEXT);
	values[at] = value;
	return {
		value,
		quantile: 1 - i / examples,
		row: (latent * examples + i) * CONTEXT + at,
		document: latent * examples + i,
		position: at,
		at,
		values,
		tokens: new Uint32Array(CONTEXT),
		texts,
	};
}
