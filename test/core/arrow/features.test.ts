import { expect, test } from "bun:test";
import { tableFromArrays } from "apache-arrow";
import { type Feature, featuresBatch, featuresOf, featuresSchema } from "../../../core/arrow/features.ts";
import { readArrowChunks } from "../../../core/arrow/reader.ts";
import { ArrowWriter } from "../../../core/arrow/writer.ts";
import { each } from "../../../core/stream.ts";

const example = (value: number, texts: readonly string[], document: number | null) => ({
	value,
	quantile: 1,
	row: 2 ** 33 + 1,
	document,
	position: document,
	at: 1,
	values: new Float32Array([0, value, 0.25]),
	tokens: new Uint32Array(texts.map((_, i) => 7 + i)),
	texts,
});

const FEATURES: readonly Feature[] = [
	{
		latent: 5,
		count: 2 ** 40,
		density: 0.001,
		mean: 1.5,
		min: 0.5,
		max: 3,
		histogram: { start: 0, width: 0.5, counts: new Uint32Array([0, 3, 1]) },
		decoder_norm: 1,
		encoder_decoder_cosine: 0.75,
		top: [example(3, ["the", " Fräulein", "…"], 4), example(2, ["a", "b", "c"], null)],
		samples: [example(0.5, [], null)],
		top_logits: [{ token: 9, text: "ß", logit: 2.5 }],
		bottom_logits: [],
		nearest: [{ latent: 6, cosine: 0.5 }],
		cooccurring: [{ latent: 7, jaccard: 0.25, phi: 0.375 }],
	},
	{
		latent: 6,
		count: 0,
		density: 0,
		mean: 0,
		min: 0,
		max: 0,
		histogram: { start: 0, width: 0, counts: new Uint32Array() },
		decoder_norm: 0,
		encoder_decoder_cosine: null,
		top: [],
		samples: [],
		top_logits: [],
		bottom_logits: [{ token: 1, text: "", logit: -1 }],
		nearest: [],
		cooccurring: [],
	},
];

test("features survive a stream, slices and all", async () => {
	const chunks: Uint8Array[] = [];
	const schema = featuresSchema([["sae.model", "m"]]);
	const writer = new ArrowWriter(
		schema,
		{ write: async (bytes) => void chunks.push(bytes.slice()) },
		"stream",
	);
	await writer.write(featuresBatch(schema, FEATURES));
	await writer.write(featuresBatch(schema, FEATURES.slice(1)));
	await writer.end();
	const stream = await readArrowChunks(each(chunks));
	expect(stream.schema.metadata.get("sae.stream")).toBe("features");
	expect(stream.schema.metadata.get("sae.model")).toBe("m");
	const read: Feature[] = [];
	for await (const batch of stream.batches) read.push(...featuresOf(batch));
	expect(read).toEqual([...FEATURES, FEATURES[1]!]);
	expect(featuresOf(featuresBatch(schema, FEATURES).slice(1, 2))).toEqual([FEATURES[1]!]);
});

test("other streams are refused by the column that they lack", () => {
	const [batch] = tableFromArrays({ latent: [1] }).batches;
	expect(() => featuresOf(batch!)).toThrow("not a features stream: no column count");
});
