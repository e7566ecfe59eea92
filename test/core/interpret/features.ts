/** Features made by hand, for tests of what is built on them. */
import {
	type Feature,
	type FeatureExample,
	featuresBatch,
	featuresSchema,
} from "../../../core/arrow/features.ts";
import { each, type RecordStream } from "../../../core/stream.ts";

/** A context with these activations; its row is the largest. */
export function anExample(
	values: readonly number[],
	texts: readonly string[] = [],
	more: Partial<FeatureExample> = {},
): FeatureExample {
	const at = values.indexOf(Math.max(...values));
	return {
		value: values[at]!,
		quantile: 1,
		row: at,
		document: null,
		position: null,
		at,
		values: new Float32Array(values),
		tokens: new Uint32Array(texts.map((text) => text.codePointAt(0) ?? 0)),
		texts,
		...more,
	};
}

export function aFeature(more: Partial<Feature>): Feature {
	return {
		latent: 0,
		count: 0,
		density: 0,
		mean: 0,
		min: 0,
		max: 0,
		histogram: { start: 0, width: 0, counts: new Uint32Array() },
		decoder_norm: 1,
		encoder_decoder_cosine: null,
		top: [],
		samples: [],
		top_logits: [],
		bottom_logits: [],
		nearest: [],
		cooccurring: [],
		...more,
	};
}

/** The features as a stream, in batches of four. */
export function featuresStreamOf(features: readonly Feature[]): RecordStream {
	const schema = featuresSchema();
	const batches = Array.from({ length: Math.ceil(features.length / 4) }, (_, i) =>
		featuresBatch(schema, features.slice(4 * i, 4 * i + 4)),
	);
	return { schema, batches: each(batches) };
}
