/** Features and pages of them, for tests. */
import {
	type Feature,
	type FeatureExample,
	featuresBatch,
	featuresSchema,
} from "../../core/arrow/features.ts";
import type { RecordStream } from "../../core/stream.ts";
import { each } from "../../core/stream.ts";

/** What must stay text wherever it is shown. */
export const WILD = "</script><img src=x onerror=alert(1)>";

export function example(value: number, texts: readonly string[], at: number, quantile = 1): FeatureExample {
	return {
		value,
		quantile,
		row: 100 + at,
		document: 3,
		position: null,
		at,
		values: Float32Array.from(texts, (_, i) => (i === at ? value : 0)),
		tokens: Uint32Array.from(texts, (_, i) => i),
		texts,
	};
}

/** A latent; those divisible by 10 were never active. */
export function feature(latent: number, more: Partial<Feature> = {}): Feature {
	const dead = latent % 10 === 0;
	return {
		latent,
		count: dead ? 0 : 10 * latent,
		density: dead ? 0 : latent / 1000,
		mean: dead ? 0 : 1,
		min: dead ? 0 : 0.5,
		max: dead ? 0 : 2 + latent / 7,
		histogram: { start: 0, width: dead ? 0 : 0.5, counts: Uint32Array.from(dead ? [] : [1, 4, 2]) },
		decoder_norm: 1,
		encoder_decoder_cosine: latent % 3 === 0 ? null : 0.5,
		top: dead ? [] : [example(2, [" the", ` token${latent}`, "\n"], 1), example(1.5, ["a", "b", WILD], 2)],
		samples: dead ? [] : [example(0.75, ["x", "y", "z"], 0, 0.3)],
		top_logits: [{ token: 5, text: WILD, logit: 1.23456 }],
		bottom_logits: [{ token: 9, text: "", logit: -1 }],
		nearest: [{ latent: latent + 1, cosine: 0.25 }],
		cooccurring: [{ latent: latent + 2, jaccard: 0.5, phi: 0.125 }],
		...more,
	};
}

/** A stream of latents 0 to `count` − 1, in batches. */
export function featuresStream(
	count: number,
	metadata: Readonly<Record<string, string>> = {},
	batch = 100,
): RecordStream {
	const schema = featuresSchema(Object.entries(metadata));
	const all = Array.from({ length: count }, (_, latent) => feature(latent));
	const starts = Array.from({ length: Math.ceil(count / batch) }, (_, i) => i * batch);
	return {
		schema,
		batches: each(starts.map((from) => featuresBatch(schema, all.slice(from, from + batch)))),
	};
}
