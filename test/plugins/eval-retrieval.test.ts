import { afterAll, beforeAll, describe, expect, test } from "bun:test";
import { mkdtemp, rm } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { core } from "../../core/api.ts";
import type { EvaluatorContribution, MetricRow } from "../../core/plugin.ts";
import retrieval from "../../plugins/eval-retrieval.ts";
import { bestRows, idealGain, ndcg, recall } from "../../plugins/retrieval/ranked.ts";
import { codeBytes, largestCodes } from "../../plugins/retrieval/views.ts";
import { referenceContext } from "../reference/context.ts";
import { randomStream } from "../reference/models.ts";
import { identitySae, labelledStream } from "./labelled.ts";

const [evaluator] = retrieval.contributes(core) as [EvaluatorContribution];

describe("of a list of found rows", () => {
	test("nDCG counts relevant rows that were not found", () => {
		// Three are relevant; two are found, at ranks 1 and 3.
		expect(ndcg([true, false, true, false, false], 3)).toBeCloseTo(0.7039, 4);
		expect(ndcg([true, true, true], 50)).toBe(1);
		expect(ndcg([false, false], 1)).toBe(0);
		expect(idealGain(3)).toBeCloseTo(2.1309, 4);
	});

	test("the best rows come in order, the lower of equal ones first", () => {
		expect([...bestRows([1, 3, 2, 3, 0, 2], 4)]).toEqual([1, 3, 2, 5]);
		expect([...bestRows([5], 10)]).toEqual([0]);
		const random = randomStream(3);
		for (let trial = 0; trial < 50; trial++) {
			const scores = Array.from({ length: 40 }, () => Math.floor(random() * 12));
			const sorted = [...scores.keys()].sort((a, b) => scores[b]! - scores[a]! || a - b);
			expect([...bestRows(scores, 10)]).toEqual(sorted.slice(0, 10));
		}
	});

	test("recall is the share of what was wanted", () => {
		expect(recall(Uint32Array.of(1, 5, 9, 2), Uint32Array.of(2, 3, 1, 4))).toBe(0.5);
	});

	test("codes are cut to the largest", () => {
		const codes = {
			rows: 2,
			offsets: Uint32Array.of(0, 4, 5),
			index: Uint32Array.of(0, 2, 5, 7, 1),
			value: Float32Array.of(1, -3, 1, 2, 4),
		};
		const cut = largestCodes(codes, 3);
		expect([...cut.offsets]).toEqual([0, 3, 4]);
		expect([...cut.index]).toEqual([0, 2, 7, 1]);
		expect([...cut.value]).toEqual([1, -3, 2, 4]);
		expect(codeBytes(8, 65_536)).toBe(48);
		expect(codeBytes(8, 65_537)).toBe(64);
	});
});

describe("eval retrieval", () => {
	const WIDTH = 24;
	const random = randomStream(11);
	/** Rows of four classes: three dimensions that a class has to itself, and one at random. */
	const classes = Array.from({ length: 400 }, () => Math.floor(random() * 4));
	const rows = classes.map((own) => {
		const row = Array.from({ length: WIDTH }, () => 0);
		for (let d = 0; d < 3; d++) row[own * 3 + d] = 0.5 + random();
		row[12 + Math.floor(random() * 12)] = 0.5 + random();
		return row;
	});
	const labels = classes.map((own) => "abcd"[own]!);
	const sae = identitySae(WIDTH, 4);

	const evaluate = (given: Record<string, unknown>, some = rows, names = labels) =>
		evaluator.evaluate(
			{ model: sae, stream: labelledStream(some, { kind: names }) },
			evaluator.options.parse(given),
			referenceContext(),
		);
	const of = (result: readonly MetricRow[], method: string, numbers?: number) =>
		result.find((row) => row.method === method && (numbers === undefined || row.numbers === numbers))!;

	let folder: string;
	beforeAll(async () => {
		folder = await mkdtemp(join(tmpdir(), "sae-retrieval-"));
	});
	afterAll(() => rm(folder, { recursive: true }));

	test("codes that hold all of a row find what the row finds; as many bytes of anything else do not", async () => {
		const result = await evaluate({ k: "2,4", label: "kind", query_rows: 50 });
		expect(result.map(({ method, numbers, bytes }) => [method, numbers, bytes])).toEqual([
			["dense", 24, 96],
			["codes", 2, 12],
			["pca", 3, 12],
			["prefix", 3, 12],
			["random", 3, 12],
			["codes", 4, 24],
			["pca", 6, 24],
			["prefix", 6, 24],
			["random", 6, 24],
			["chance", 0, 0],
		]);
		expect(of(result, "dense")).toMatchObject({ recall_at_10: 1, nn_accuracy: 1, ndcg_at_10: 1 });
		expect(of(result, "codes", 4)).toMatchObject({ recall_at_10: 1, nn_accuracy: 1, ndcg_at_10: 1 });
		const rest = ["pca", "prefix", "random"].map((method) => Number(of(result, method, 6).recall_at_10));
		expect(Math.max(...rest)).toBeLessThan(0.7);
		expect(Math.min(...rest)).toBeGreaterThan(0);
		// The first six dimensions are those of two classes; the other two are told apart by chance.
		expect(Number(of(result, "prefix", 6).nn_accuracy)).toBeLessThan(0.85);
		expect(Number(of(result, "pca", 6).nn_accuracy)).toBe(1);
	});

	test("all directions, by whichever basis, keep every cosine", async () => {
		const result = await evaluate({ k: "16", query_rows: 20 });
		for (const method of ["pca", "prefix"]) {
			expect(of(result, method)).toMatchObject({ numbers: WIDTH, bytes: 96, recall_at_10: 1 });
		}
	});

	test("chance is what rows in random order give", async () => {
		// One query of each of two classes, against 12 rows, of which 3 and 9 are of their class.
		const names = ["x", "y", ..."xxxyyyyyyyyy"];
		const some = names.map((_, i) => Array.from({ length: WIDTH }, (_, d) => Number(d === i) + 0.1));
		const chance = of(await evaluate({ k: "4", query_rows: 2, label: "kind" }, some, names), "chance");
		expect(chance).toMatchObject({ recall_at_10: 10 / 12, nn_accuracy: 0.5, labelled_queries: 2 });
		const all = idealGain(10);
		const expected = ((3 / 12) * (all / idealGain(3)) + (9 / 12) * (all / idealGain(9))) / 2;
		expect(chance.ndcg_at_10).toBeCloseTo(expected, 12);
	});

	test("queries may come from a file; then all rows are searched", async () => {
		const path = join(folder, "queries.arrow");
		await core.writeArrowFile(
			labelledStream(rows.slice(0, 5), { kind: ["a", "b", "c", "d", "zebra"] }),
			path,
		);
		const result = await evaluate({ k: "4", queries: path, label: "kind" });
		expect(of(result, "chance")).toMatchObject({ recall_at_10: 10 / 400, labelled_queries: 4 });
		expect(of(result, "codes").recall_at_10).toBe(1);
	});

	test("needs rows to search", async () => {
		await expect(evaluate({ query_rows: 395 })).rejects.toThrow("5 rows are left to search, after 395");
		await expect(evaluate({ label: "none" })).rejects.toThrow("no column none");
	});
});
