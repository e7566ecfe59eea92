/** From what was collected of latents to the features stream. */
import type { RecordBatch, Schema } from "apache-arrow";
import {
	type Feature,
	type FeatureExample,
	featuresBatch,
	featuresSchema,
	type NearLatent,
} from "../arrow/features.ts";
import { META, type RecordStream } from "../stream.ts";
import type { Collected } from "./collector.ts";
import { garbageLimit } from "./garbage.ts";
import type { KeptExample } from "./kept-examples.ts";
import type { LatentLogits, TokenValue } from "./logits.ts";
import type { TokenTexts } from "./pieces.ts";
import type { RankedLists } from "./ranked-lists.ts";

export interface FeatureParts {
	readonly collected: Collected;
	/** Of decoder rows. */
	readonly norms: Float32Array;
	readonly encoderDecoderCosines: Float32Array | undefined;
	readonly nearest: RankedLists<NearLatent> | undefined;
	readonly logits: LatentLogits | undefined;
	readonly texts: TokenTexts | undefined;
	/** Co-occurring latents of each. */
	readonly cooccurring: number;
}

/** Latents in a batch. */
const BATCH = 64;

/** @param metadata where the rows come from; what was seen of them is added. */
export function featuresStream(
	parts: FeatureParts,
	metadata: Iterable<readonly [string, string]>,
): RecordStream {
	const { rows, cooccurrence } = parts.collected;
	const schema = featuresSchema([
		...metadata,
		[META.seen, String(rows)],
		...(cooccurrence ? [[META.cooccurrence, cooccurrence.description] as const] : []),
	]);
	return { schema, batches: batchesOf(schema, parts) };
}

async function* batchesOf(schema: Schema, parts: FeatureParts): AsyncGenerator<RecordBatch> {
	const { d_sae } = parts.collected.records;
	const limitGarbage = garbageLimit();
	for (let first = 0; first < d_sae; first += BATCH) {
		const count = Math.min(BATCH, d_sae - first);
		limitGarbage();
		yield featuresBatch(
			schema,
			Array.from({ length: count }, (_, i) => featureOf(first + i, parts)),
		);
	}
}

/** One row of the stream. */
export function featureOf(latent: number, parts: FeatureParts): Feature {
	const { collected, norms, encoderDecoderCosines, nearest, logits, texts, cooccurring } = parts;
	const { rows, records, top, samples, cooccurrence } = collected;
	const summary = records.summary(latent);
	const drawn = samples.of(latent);
	const quantile = quantilesOf(collected, latent, drawn);
	const example = (kept: KeptExample) => exampleOf(kept, quantile(kept.value), texts);
	const named = (found: RankedLists<TokenValue> | undefined) =>
		(found?.of(latent) ?? []).map((one) => ({ ...one, text: texts?.one(one.token) ?? "" }));
	return {
		latent,
		...summary,
		density: rows > 0 ? summary.count / rows : 0,
		histogram: records.histogram(latent),
		decoder_norm: norms[latent]!,
		encoder_decoder_cosine: encoderDecoderCosines?.[latent] ?? null,
		top: top.of(latent).map(example),
		samples: drawn.map(example),
		top_logits: named(logits?.top),
		bottom_logits: named(logits?.bottom),
		nearest: nearest?.of(latent) ?? [],
		cooccurring: cooccurrence?.of(latent, cooccurring) ?? [],
	};
}

/** Exact where the samples are all activations there were, else from the histogram. */
function quantilesOf({ records }: Collected, latent: number, drawn: readonly KeptExample[]) {
	if (drawn.length < records.counts[latent]!) return (value: number) => records.quantile(latent, value);
	return (value: number) => drawn.filter((one) => one.value <= value).length / drawn.length;
}

function exampleOf(
	{ text, ...kept }: KeptExample,
	quantile: number,
	texts: TokenTexts | undefined,
): FeatureExample {
	if (text !== null) return { ...kept, quantile, texts: [text] };
	return { ...kept, quantile, texts: texts && kept.tokens.length > 0 ? texts.row(kept.tokens, kept.at) : [] };
}
