/** Neuronpedia's files, read back and held against the layout of its bulk import and of SAEDashboard. */
import { afterAll, beforeAll, expect, test } from "bun:test";
import { mkdtemp, readdir, rm } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { gunzipSync } from "node:zlib";
import { Field, type RecordBatch, Schema, Utf8, vectorFromArray } from "apache-arrow";
import { z } from "zod";
import { makeBatch } from "../../core/arrow/batch.ts";
import { type Feature, featuresBatch, featuresSchema } from "../../core/arrow/features.ts";
import { writeArrowFile } from "../../core/arrow/writer.ts";
import { builtIn } from "../../core/built-in.ts";
import type { SaeModel } from "../../core/sae.ts";
import { each } from "../../core/stream.ts";
import { aFeature, anExample } from "../core/interpret/features.ts";

const WIDTH = 4;
const LATENTS = 300;
const MODEL: SaeModel = {
	architecture: "relu",
	d_in: WIDTH,
	d_sae: LATENTS,
	apply_b_dec_to_input: false,
	normalize_activations: "none",
	settings: {},
	metadata: {},
	tensors: {
		W_dec: { shape: [LATENTS, WIDTH], data: new Float32Array(LATENTS * WIDTH).map((_, i) => (i % 7) - 3) },
	},
};

const TEXTS = ["The", " cat", " sat", "\u0000"];
const feature = (latent: number): Feature =>
	aFeature({
		latent,
		count: 10,
		density: 0.001,
		max: 4,
		histogram: { start: 0, width: 1, counts: new Uint32Array([4, 3, 2, 1]) },
		top: [
			anExample([0, 4, 0.5, 0], TEXTS, { row: 11, document: 3 }),
			// The row itself need not be its context's largest.
			anExample([0, 2, 3, 0], TEXTS, { row: 7, at: 1, value: 2 }),
		],
		samples: [anExample([0, 4, 0.5, 0], TEXTS, { row: 11 }), anExample([0.7, 0, 0, 0], TEXTS, { row: 2 })],
		top_logits: [
			{ token: 5, text: " dog", logit: 2.5 },
			{ token: 6, text: "", logit: 1 },
		],
		bottom_logits: [{ token: 7, text: "x", logit: -3 }],
		nearest: [{ latent: 2, cosine: 0.75 }],
	});

let folder: string;
let features: string;
beforeAll(async () => {
	folder = await mkdtemp(join(tmpdir(), "sae-neuronpedia-"));
	features = join(folder, "features.arrow");
	const metadata: [string, string][] = [
		["sae.model", "openai-community/gpt2"],
		["sae.hook_point", "blocks.6.hook_resid_pre"],
		["sae.seen", "10000"],
	];
	await write(features, [feature(0), feature(1), ...Array.from({ length: 150 }, (_, i) => feature(i + 2))], {
		metadata,
		explanations: ["cats", null, ...Array.from({ length: 150 }, (_, i) => (i === 149 ? "last" : ""))],
	});
});
afterAll(() => rm(folder, { recursive: true }));

async function write(
	path: string,
	rows: readonly Feature[],
	{
		metadata = [],
		explanations,
	}: { metadata?: [string, string][]; explanations?: readonly (string | null)[] } = {},
): Promise<void> {
	const schema = featuresSchema(metadata);
	const batch: RecordBatch = featuresBatch(schema, rows);
	if (!explanations) return writeArrowFile({ schema, batches: each([batch]) }, path);
	const wider = new Schema(
		[
			...schema.fields,
			new Field("explanation", new Utf8(), true),
			new Field("explanation_source", new Utf8(), true),
		],
		schema.metadata,
	);
	const columns = [explanations, explanations.map(() => "me")].map(
		(values) => vectorFromArray(values, new Utf8()).data[0]!,
	);
	const more = makeBatch(wider, rows.length, [...batch.data.children, ...columns]);
	await writeArrowFile({ schema: wider, batches: each([more]) }, path);
}

async function exported(out: string, options: Readonly<Record<string, unknown>> = {}): Promise<string> {
	const exporter = (await (await builtIn()).find("exporter", "neuronpedia"))!;
	const path = join(folder, out);
	await exporter.write(MODEL, path, exporter.options.parse({ features, ...options }));
	return path;
}

async function lines(path: string): Promise<Record<string, unknown>[]> {
	const bytes = await Bun.file(path).bytes();
	const text = new TextDecoder().decode(path.endsWith(".gz") ? gunzipSync(bytes) : bytes);
	const rows = text
		.trimEnd()
		.split("\n")
		.map((line) => JSON.parse(line));
	const keys = Object.keys(rows[0]);
	for (const row of rows) expect(Object.keys(row)).toEqual(keys);
	return rows;
}

const numbers = z.array(z.number());
const strings = z.array(z.string());
const nothing = z.array(z.never());
const STATISTICS = {
	neuron_alignment_indices: z.array(z.int()).length(3),
	neuron_alignment_values: numbers.length(3),
	neuron_alignment_l1: numbers.length(3),
	correlated_neurons_indices: nothing,
	correlated_neurons_pearson: nothing,
	correlated_neurons_l1: nothing,
	correlated_features_indices: nothing,
	correlated_features_pearson: nothing,
	correlated_features_l1: nothing,
	neg_str: strings,
	neg_values: numbers,
	pos_str: strings,
	pos_values: numbers,
	frac_nonzero: z.number(),
	freq_hist_data_bar_heights: z.array(z.int()),
	freq_hist_data_bar_values: numbers,
	logits_hist_data_bar_heights: nothing,
	logits_hist_data_bar_values: nothing,
	decoder_weights_dist: nothing,
};
const KEY = {
	modelId: z.literal("gpt2"),
	layer: z.literal("6-saeflow-res-300"),
	index: z.int(),
	creatorId: z.string(),
	createdAt: z.iso.datetime(),
};
const FEATURE = z.strictObject({
	...KEY,
	...STATISTICS,
	maxActApprox: z.number(),
	hasVector: z.boolean(),
	vector: numbers,
	vectorLabel: z.null(),
	vectorDefaultSteerStrength: z.number(),
	hookName: z.literal("blocks.6.hook_resid_pre"),
	topkCosSimIndices: z.array(z.int()),
	topkCosSimValues: numbers,
	sourceSetName: z.literal("saeflow-res-300"),
});
const ACTIVATION = z.strictObject({
	...KEY,
	id: z.string().regex(/^c[0-9a-z]{24}$/),
	tokens: strings,
	maxValue: z.number(),
	maxValueTokenIndex: z.int(),
	minValue: z.number(),
	values: numbers,
	dataSource: z.string().nullable(),
	dataIndex: z.string().nullable(),
	dfaValues: nothing,
	dfaTargetIndex: z.null(),
	dfaMaxValue: z.null(),
	lossValues: nothing,
	logitContributions: z.null(),
	binMin: z.number(),
	binMax: z.number(),
	binContains: z.number(),
	qualifyingTokenIndex: z.int(),
});
const { creatorId: _, ...OWN } = KEY;
const EXPLANATION = z.strictObject({
	...OWN,
	id: z.string().length(25),
	description: z.string().min(1),
	authorId: z.string(),
	typeName: z.null(),
	explanationModelName: z.null(),
	scoreV1: z.number(),
	scoreV2: z.number().nullable(),
	triggeredByUserId: z.null(),
	notes: z.string().nullable(),
	updatedAt: z.iso.datetime(),
});

test("the folder of the bulk import", async () => {
	const out = join(
		await exported("bulk", { vectors: true, created: "2026-01-02T03:04:05Z" }),
		"gpt2/6-saeflow-res-300",
	);
	expect((await readdir(out)).sort()).toEqual([
		"activations",
		"explanations",
		"features",
		"model.jsonl",
		"release.jsonl",
		"source.jsonl",
		"sourceset.jsonl",
	]);
	expect((await readdir(join(out, "features"))).sort()).toEqual(["batch-0.jsonl.gz", "batch-1.jsonl.gz"]);
	const latents = z.array(FEATURE).parse(await lines(join(out, "features/batch-0.jsonl.gz")));
	expect(latents).toHaveLength(128);
	for (const { freq_hist_data_bar_heights: heights, pos_values } of latents) {
		expect(heights.reduce((sum, height) => sum + height)).toBe(10);
		expect(pos_values).toEqual(pos_values.toSorted((a, b) => b - a));
	}
	expect(latents[1]).toMatchObject({
		index: 1,
		maxActApprox: 4,
		hasVector: true,
		vector: [1, 2, 3, -3],
		vectorDefaultSteerStrength: 4,
		neuron_alignment_indices: [2, 1, 0],
		neuron_alignment_values: [3, 2, 1],
		neuron_alignment_l1: [0.333333, 0.222222, 0.111111],
		pos_str: [" dog", "token 6"],
		freq_hist_data_bar_values: [0.5, 1.5, 2.5, 3.5],
		topkCosSimIndices: [2],
	});
	const examples = z.array(ACTIVATION).parse(await lines(join(out, "activations/batch-0.jsonl.gz")));
	expect(examples).toHaveLength(3 * 128);
	expect(new Set(examples.map(({ id }) => id)).size).toBe(examples.length);
	for (const { values, tokens, maxValue, maxValueTokenIndex } of examples) {
		expect(tokens).toHaveLength(values.length);
		expect(values[maxValueTokenIndex]).toBe(maxValue);
	}
	expect(examples.slice(0, 3)).toMatchObject([
		{ tokens: TEXTS, values: [0, 4, 0.5, 0], binMin: -1, binMax: 4, binContains: -1, dataIndex: "3" },
		{ maxValue: 3, maxValueTokenIndex: 2, qualifyingTokenIndex: 1, dataIndex: null },
		{ values: [0.7, 0, 0, 0], binMin: 0, binMax: 0.8, binContains: 0.4 },
	]);
	const explanations = (await readdir(join(out, "explanations"))).sort();
	const texts = z
		.array(EXPLANATION)
		.parse((await Promise.all(explanations.map((name) => lines(join(out, "explanations", name))))).flat());
	expect(texts.map(({ index, description, notes }) => [index, description, notes])).toEqual([
		[0, "cats", '{"explanation_source":"me"}'],
		[151, "last", '{"explanation_source":"me"}'],
	]);
	const named = await exported("named", { explanation_models: true });
	const [first] = await lines(join(named, "gpt2/6-saeflow-res-300/explanations/batch-0.jsonl.gz"));
	expect(first).toMatchObject({ explanationModelName: "me", typeName: null });
	const [source] = await lines(join(out, "source.jsonl"));
	expect(source).toMatchObject({ id: "6-saeflow-res-300", num_tokens_in_prompt: 4, num_prompts: 2500 });
	expect(await lines(join(out, "release.jsonl"))).toMatchObject([
		{ name: "saeflow-res-300", isNewUi: false },
	]);
	expect(await lines(join(out, "model.jsonl"))).toMatchObject([{ id: "gpt2", inferenceEnabled: false }]);
	expect(await lines(join(out, "sourceset.jsonl"))).toMatchObject([{ modelId: "gpt2", defaultRange: 1 }]);
	await expect(exported("bulk")).rejects.toThrow("is there already");
});

test("SAEDashboard's batches", async () => {
	const out = join(
		await exported("dashboard", { form: "dashboard", source_set: "res-me", prompt_tokens: 100 }),
		"gpt2/6-res-me",
	);
	expect((await readdir(out)).sort()).toEqual(["batch-0.json", "batch-1.json", "run_settings.json"]);
	const FILE = z.strictObject({
		model_id: z.literal("gpt2"),
		layer: z.literal(6),
		sae_set: z.literal("res-me"),
		sae_id_suffix: z.null(),
		features: z.array(
			z.strictObject({
				...STATISTICS,
				feature_index: z.int(),
				n_prompts_total: z.literal(100),
				n_tokens_in_prompt: z.literal(100),
				dataset: z.string(),
				activations: z.array(
					z.strictObject({
						bin_min: z.number(),
						bin_max: z.number(),
						bin_contains: z.number(),
						tokens: strings,
						values: numbers,
						qualifying_token_index: z.int(),
					}),
				),
				vector: nothing,
			}),
		),
	});
	const batch = FILE.parse(await Bun.file(join(out, "batch-1.json")).json());
	expect(batch.features.map((one) => one.feature_index)).toEqual(
		Array.from({ length: 24 }, (_, i) => 128 + i),
	);
});

test("what is missing or of another SAE is said in one line, and nothing is left", async () => {
	const bare = join(folder, "bare.arrow");
	await write(bare, [feature(0)]);
	await expect(exported("no", { features: bare })).rejects.toThrow("says its model; give --model-id");
	await expect(exported("no", { features: bare, model_id: "m" })).rejects.toThrow(
		"says its layer; give --layer",
	);
	const other = join(folder, "other.arrow");
	await write(other, [feature(LATENTS)]);
	const given = { model_id: "m", layer: 0 };
	await expect(exported("no", { features: other, ...given })).rejects.toThrow(
		"has latent 300, but the SAE has 300",
	);
	await write(other, [{ ...feature(0), top: [anExample([1, 2])] }]);
	await expect(exported("no", { features: other, ...given })).rejects.toThrow("2 activations and 0 tokens");
	expect(await readdir(join(folder, "no/m"))).toEqual([]);
});
