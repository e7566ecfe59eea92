/**
 * Evaluators against figures that NumPy, SciPy, scikit-learn and networkx gave for the same rows and weights:
 * test/fixtures/metrics/make.py, step by step.
 */
import { afterAll, beforeAll, describe, expect, test } from "bun:test";
import { mkdtemp, rm } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { core } from "../../core/api.ts";
import { saveSae } from "../../core/load.ts";
import type { EvaluatorContribution, MetricRow, Plugin } from "../../core/plugin.ts";
import { CounterRng } from "../../core/random.ts";
import type { SaeModel } from "../../core/sae.ts";
import { each } from "../../core/stream.ts";
import {
	adjustedMutualInformation,
	mutualInformation,
	spectralClusters,
} from "../../plugins/geometry/lobes.ts";
import { denseDesign } from "../../plugins/probing/examples.ts";
import { l1Regression } from "../../plugins/probing/l1.ts";
import { logisticRegression } from "../../plugins/probing/logistic.ts";
import expected from "../fixtures/metrics/expected.json" with { type: "json" };
import { referenceContext } from "../reference/context.ts";
import { randomStream, randomTensor, randomTopK } from "../reference/models.ts";
import { encodeTopK } from "../reference/topk.ts";
import { labelledStream } from "./labelled.ts";

const [WIDTH, LATENTS, K, ROWS] = [12, 20, 4, 600];
const sae = randomTopK(WIDTH, LATENTS, K, 1);
const other = randomTopK(WIDTH, LATENTS, K, 2);
const data = randomTensor([ROWS, WIDTH], randomStream(3), 2).data;
for (let i = 0; i < ROWS; i++) data[i * WIDTH + (i % 3)]! += 1.5;
const rows = Array.from({ length: ROWS }, (_, i) => [...data.subarray(i * WIDTH, (i + 1) * WIDTH)]);
const labels = rows.map((_, i) => "abc"[i % 3]!);
const words = rows.map((_, i) => labels[i]! + "uvwxyz"[Math.floor(i / 3) % 6]!);

const first = labels.map((label) => (label === "a" ? "it" : "no"));
const second = rows.map((row) => (row[1]! > 0.5 ? "y" : "x"));

let folder: string;
const path = (name: string) => join(folder, name);
beforeAll(async () => {
	folder = await mkdtemp(join(tmpdir(), "sae-agreement-"));
	await Promise.all([saveSae(sae, path("a")), saveSae(other, path("b"))]);
	const { data: truth, shape } = other.tensors.W_dec!;
	await core.writeSafetensors(path("truth"), [{ name: "features", dtype: "f32", shape, data: truth }]);
});
afterAll(() => rm(folder, { recursive: true }));

async function evaluate(name: string, given: Record<string, unknown> = {}, model: SaeModel = sae) {
	const { default: plugin } = (await import(`../../plugins/eval-${name}.ts`)) as { default: Plugin };
	const [evaluator] = plugin.contributes(core) as [EvaluatorContribution];
	const options = evaluator.options.parse(given);
	return evaluator.evaluate(
		{ model, stream: labelledStream(rows, { label: labels, word: words, first, second }) },
		options,
		referenceContext(),
	);
}

/** Numbers agree to `share` of themselves, or to that for those below 1; all else is equal. */
function expectNear(actual: unknown, wanted: unknown, share = 1e-6, where = ""): void {
	if (typeof wanted === "number") {
		const off = Math.abs(Number(actual) - wanted) / Math.max(1, Math.abs(wanted));
		if (!(off <= share)) throw new Error(`${where}: ${actual}, where Python has ${wanted}`);
	} else if (typeof wanted === "object" && wanted !== null) {
		for (const [key, value] of Object.entries(wanted)) {
			expectNear((actual as Record<string, unknown>)?.[key], value, share, `${where} ${key}`);
		}
	} else expect(actual).toEqual(wanted);
}

const by = (result: readonly MetricRow[], key: string, value: unknown) =>
	result.find((row) => row[key] === value);

test("reconstruction, with r2_score for explained variance", async () => {
	const [found] = await evaluate("reconstruction");
	expectNear(found, expected.reconstruction);
});

describe("probing", () => {
	test("accuracies of scikit-learn's regressions, on the same split, are the same", async () => {
		const result = await evaluate("probing", { label: "label", top: "1,2,5" });
		for (const wanted of expected.probing.classes) {
			// An example on the boundary may fall to either side.
			expectNear(by(result, "class", wanted.class), wanted, 1e-9, wanted.class);
		}
	});

	test("weights are scikit-learn's", () => {
		const design = denseDesign(
			rows.map((row) => Float64Array.from(row)),
			WIDTH,
		);
		const found = logisticRegression(
			design,
			labels.map((label) => Number(label === "a")),
		);
		expectNear(found, expected.probing.regression, 1e-5);
	});
});

test("stability, with linear_sum_assignment", async () => {
	const result = await evaluate("stability", { sae: [path("a"), path("b")], threshold: 0.4 });
	for (const [kind, wanted] of Object.entries(expected.stability)) {
		expectNear(
			result.find((row) => row.by === kind && row.other === path("b")),
			wanted,
			1e-6,
			kind,
		);
	}
});

test("recovery, with linear_sum_assignment", async () => {
	const result = await evaluate("recovery", { truth: path("truth") });
	expectNear(by(result, "dictionary", "sae"), expected.recovery);
});

describe("geometry", () => {
	test("cosines, components, eigenvalues, their line, and φ as NumPy and SciPy have them", async () => {
		const [found] = await evaluate("geometry", { block: 2, cosine: 0.4 });
		expectNear(found, expected.geometry.figures);
	});

	test("spectral clusters and mutual informations as scikit-learn has them", () => {
		const random = randomStream(5);
		const side = Array.from({ length: 30 }, (_, i) => Number(i >= 12));
		const noise = randomTensor([30, 30], random, 0.4).data;
		const affinity = side.map((own, i) =>
			Float64Array.from(
				side,
				(one, j) => (own === one ? 1.2 : 0.5) + Math.fround(noise[i * 30 + j]! + noise[j * 30 + i]!) / 2,
			),
		);
		const lobes = spectralClusters(affinity, 2, new CounterRng(0));
		expect(adjustedMutualInformation(lobes, Int32Array.from(expected.geometry.lobes))).toBeCloseTo(1, 12);
		const [a, b] = [3, 4].map((n) => Int32Array.from({ length: 60 }, () => Math.floor(random() * n)));
		for (let i = 0; i < 60; i += 3) b![i] = a![i]!;
		expect(mutualInformation(a!, b!)).toBeCloseTo(expected.geometry.mutual_information, 10);
		expect(adjustedMutualInformation(a!, b!)).toBeCloseTo(expected.geometry.adjusted_mutual_information, 10);
	});
});

test("dark matter, with LinearRegression, and a pursuit of its own", async () => {
	const [found] = await evaluate("dark-matter");
	expectNear(found, expected.dark_matter);
});

test("description length, with SciPy's entropy", async () => {
	const result = await evaluate("mdl", { levels: "4,8,32" });
	for (const wanted of expected.mdl) expectNear(by(result, "levels", wanted.levels), wanted);
});

test("families, with networkx's maximum spanning tree", async () => {
	expect(expected.families.unique).toBe(true);
	expect(expected.families.families.length).toBeGreaterThan(1);
	const result = await evaluate("families", { threshold: 0.25, rounds: 2, least_children: 2 });
	const found = expected.families.families.map((_, family) => {
		const own = result.filter((row) => row.family === family);
		const edges = own.map(({ parent, child }) => [Number(parent), Number(child)]);
		edges.sort(([a, b], [c, d]) => a! - c! || b! - d!);
		return { round: own[0]!.round, root: own[0]!.root, edges };
	});
	expect(new Set(result.map(({ family }) => family)).size).toBe(found.length);
	expect(found).toEqual(expected.families.families);
});

test("retrieval, with NearestNeighbors and ndcg_score", async () => {
	const result = await evaluate("retrieval", { k: "2,4", query_rows: 60, label: "label" });
	for (const wanted of expected.retrieval) {
		const found = result.find(
			({ method, numbers }) => method === wanted.method && numbers === wanted.numbers,
		);
		expectNear(found, wanted, 1e-6, `${wanted.method} ${wanted.numbers}`);
	}
});

test("absorption, with scikit-learn's probes", async () => {
	const result = await evaluate("absorption", { word: "word", least_f1: 0.3 });
	for (const wanted of expected.absorption.letters) {
		expectNear(by(result, "letter", wanted.letter), wanted, 1e-6, wanted.letter);
	}
	const { offsets, index, value } = encodeTopK(sae, data, ROWS, K);
	const codes = rows.map((_, row) => {
		const dense = new Float64Array(LATENTS);
		for (let entry = offsets[row]!; entry < offsets[row + 1]!; entry++) dense[index[entry]!] = value[entry]!;
		return dense;
	});
	const probe = l1Regression(
		denseDesign(codes, LATENTS),
		labels.map((label) => Number(label === "a")),
		{ penalty: 0.01, positive: 2 },
	);
	expectNear(probe, expected.absorption.regression, 1e-4);
});

test("targeted probe perturbation, with latents taken out of the rows themselves", async () => {
	const result = await evaluate("tpp", { label: "label", latents: "1,2,5" });
	for (const wanted of expected.tpp)
		expectNear(by(result, "class", wanted.class), wanted, 1e-9, wanted.class);
});

test("spurious correlation removal, likewise", async () => {
	const result = await evaluate("scr", { label: "first", spurious: "second", latents: "1,2,5" });
	expectNear(result.slice(1), expected.scr, 1e-9);
	const metric = expected.scr[0]!.biased_accuracy <= expected.scr[1]!.biased_accuracy ? 0 : 1;
	expectNear(result[0], expected.scr[metric], 1e-9);
});

test("layer distances, with SciPy's complete linkage", async () => {
	const { data: steps } = randomTensor([40, 5, 6], randomStream(6));
	const stacked = new Float64Array(steps.length);
	for (let i = 0; i < steps.length; i++) {
		const first = Math.floor(i / 6) % 5 === 0;
		// As NumPy adds float32: rounded after each layer.
		stacked[i] = first ? steps[i]! : Math.fround(stacked[i - 6]! + steps[i]!);
	}
	const schema = core.activationsSchema({ width: 6, type: "float32", columns: ["layer"] });
	const vectors = { data: Float32Array.from(stacked), rows: 200, width: 6, type: "float32" } as const;
	const layer = Uint16Array.from({ length: 200 }, (_, i) => i % 5);
	const { default: plugin } = await import("../../plugins/eval-layer-distance.ts");
	const [evaluator] = plugin.contributes(core) as unknown as [EvaluatorContribution];
	const result = await evaluator.evaluate(
		{ stream: { schema, batches: each([core.activationsBatch(schema, vectors, { layer })]) } } as never,
		evaluator.options.parse({}),
		referenceContext(),
	);
	const pairs = result.filter(({ groups }) => groups === null).map(({ distance }) => distance);
	expectNear(pairs, expected.layer_distance.distances);
	// Each merge makes a group, whose diameter is the merge's height.
	const diameters = result.filter(({ groups }) => groups !== null).map(({ distance }) => Number(distance));
	for (const height of expected.layer_distance.diameters) {
		expect(Math.min(...diameters.map((diameter) => Math.abs(diameter - height)))).toBeLessThan(1e-6);
	}
});
