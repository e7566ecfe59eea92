import { afterAll, beforeAll, describe, expect, test } from "bun:test";
import { mkdtemp, readdir, rm } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { core } from "../../core/api.ts";
import type { EvaluatorContribution } from "../../core/plugin.ts";
import probing from "../../plugins/eval-probing.ts";
import { columnsOf, denseDesign, mostDifferent, sparseDesign } from "../../plugins/probing/examples.ts";
import { logisticRegression } from "../../plugins/probing/logistic.ts";
import { referenceContext } from "../reference/context.ts";
import { randomStream } from "../reference/models.ts";
import { identitySae, labelledStream } from "./labelled.ts";

const [evaluator] = probing.contributes(core) as [EvaluatorContribution];
const WIDTH = 8;
const CLASSES = ["cat", "dog", "eel"];
const random = randomStream(3);
/** Row i is of class i mod 3, whose latent 5 − class is 1 to 2; the others are noise below 0.5. */
const rows = Array.from({ length: 600 }, (_, i) =>
	Array.from({ length: WIDTH }, (_, d) => (d === 5 - (i % 3) ? 1 + random() : random() / 2)),
);
const labels = rows.map((_, i) => CLASSES[i % 3]!);

let folder: string;
beforeAll(async () => {
	folder = await mkdtemp(join(tmpdir(), "sae-probing-"));
});
afterAll(() => rm(folder, { recursive: true }));

const evaluate = (
	columns: Record<string, readonly string[]>,
	options: Record<string, unknown> = {},
	data = rows,
) =>
	evaluator.evaluate(
		{ model: identitySae(WIDTH, WIDTH), stream: labelledStream(data, columns) },
		evaluator.options.parse({ label: "animal", ...options }),
		referenceContext(),
	);

/** Newton's method on the same objective, with a plain solver: 2 weights and a bias. */
function newton(x: readonly (readonly number[])[], y: readonly number[]): number[] {
	const w = [0, 0, 0];
	for (let step = 0; step < 50; step++) {
		const matrix = [0, 1, 2].map((i) => [0, 1, 2].map((j) => (i === j && i < 2 ? 1 : 0)));
		const gradient = [w[0]!, w[1]!, 0];
		for (const [n, row] of x.entries()) {
			const one = [...row, 1];
			const p = 1 / (1 + Math.exp(-one.reduce((sum, value, i) => sum + value * w[i]!, 0)));
			for (let i = 0; i < 3; i++) {
				gradient[i]! += (p - y[n]!) * one[i]!;
				for (let j = 0; j < 3; j++) matrix[i]![j]! += p * (1 - p) * one[i]! * one[j]!;
			}
		}
		const det = (m: number[][]) =>
			m[0]![0]! * (m[1]![1]! * m[2]![2]! - m[1]![2]! * m[2]![1]!) -
			m[0]![1]! * (m[1]![0]! * m[2]![2]! - m[1]![2]! * m[2]![0]!) +
			m[0]![2]! * (m[1]![0]! * m[2]![1]! - m[1]![1]! * m[2]![0]!);
		const whole = det(matrix);
		for (let c = 0; c < 3; c++) {
			const replaced = matrix.map((row, i) => row.map((value, j) => (j === c ? gradient[i]! : value)));
			w[c]! -= det(replaced) / whole;
		}
	}
	return w;
}

describe("eval probing", () => {
	test("finds the latent that was planted for each class", async () => {
		const [mean, ...classes] = await evaluate({ animal: labels });
		expect(mean).toMatchObject({
			class: "mean",
			sae_top_1_test_accuracy: 1,
			sae_test_accuracy: 1,
			llm_test_accuracy: 1,
		});
		expect(classes.map((row) => row.class)).toEqual(CLASSES);
		expect(classes.map(({ latents }) => String(latents).split(" ")[0])).toEqual(["5", "4", "3"]);
		expect(classes[0]).toMatchObject({ train: 320, test: 80 });
		expect(Number(mean!.shuffled_top_20_test_accuracy)).toBeLessThan(0.9);
	});

	test("labels that have nothing to do with the rows are guessed as by a coin", async () => {
		const coin = randomStream(9);
		const [mean] = await evaluate({ animal: rows.map(() => (coin() < 0.5 ? "a" : "b")) });
		expect(Math.abs(Number(mean!.sae_top_5_test_accuracy) - 0.5)).toBeLessThan(0.15);
		expect(Math.abs(Number(mean!.shuffled_top_20_test_accuracy) - 0.5)).toBeLessThan(0.15);
	});

	test("groups of rows are examples, by their mean", async () => {
		// Single rows of a group cancel out in dimensions 3 to 5, where only their mean tells the class.
		const groups = rows.map((_, i) => String(Math.floor(i / 2)));
		const animal = groups.map((group) => CLASSES[Number(group) % 3]!);
		const apart = groups.map((group, i) =>
			Array.from({ length: WIDTH }, (_, d) => 3 * (i % 2 ? 0 : 1) + (d === Number(group) % 3 ? 1 : 0)),
		);
		const [mean, cat] = await evaluate({ animal, text: groups }, { group: "text", top: "1" }, apart);
		expect(mean).toMatchObject({ sae_top_1_test_accuracy: 1 });
		expect(Number(cat!.train) + Number(cat!.test)).toBe(200);
		await expect(evaluate({ animal: labels, text: groups }, { group: "text" })).rejects.toThrow(
			"rows of the group 0 have the labels cat and dog",
		);
	});

	test("writes SAEBench's JSON", async () => {
		const path = join(folder, "result.json");
		const [mean] = await evaluate({ animal: labels }, { saebench: path });
		const result = await Bun.file(path).json();
		expect(result).toMatchObject({
			eval_type_id: "sparse_probing",
			eval_config: { random_seed: 42, k_values: [1, 2, 5, 20] },
			eval_result_metrics: {
				llm: { llm_test_accuracy: mean!.llm_test_accuracy },
				sae: { sae_top_1_test_accuracy: 1, sae_top_20_test_accuracy: mean!.sae_top_20_test_accuracy },
			},
			eval_result_details: [{ dataset_name: "animal", sae_top_1_test_accuracy: 1 }],
			sae_cfg_dict: { architecture: "topk", d_sae: WIDTH },
		});
		expect(await readdir(folder)).toEqual(["result.json"]);
	});

	test("refuses labels that can't be learned", async () => {
		await expect(evaluate({ other: labels })).rejects.toThrow(
			"no column animal; the stream has: activation, other",
		);
		await expect(evaluate({ animal: labels.map(() => "cat") })).rejects.toThrow(
			"all 600 examples have the label cat",
		);
		const rare = labels.map((label, i) => (i === 0 ? "yak" : label));
		await expect(evaluate({ animal: rare })).rejects.toThrow("the label yak has 1 examples; each needs 5");
		await expect(evaluate({ animal: labels.map((_, i) => String(i % 300)) })).rejects.toThrow(
			"has 300 labels",
		);
	});
});

describe("logistic regression", () => {
	test("is where Newton's method ends, with dense and with sparse rows", () => {
		const x = Array.from({ length: 200 }, () => [random() * 4 - 2, random() * 40]);
		const y = x.map(([a, b]) => (a! + b! / 20 + random() > 1.5 ? 1 : 0));
		const expected = newton(x, y);
		const dense = denseDesign(
			x.map((row) => Float64Array.from(row)),
			2,
		);
		const index = Uint32Array.of(0, 1);
		const sparse = sparseDesign(
			x.map((row) => ({ index, value: Float64Array.from(row) })),
			2,
		);
		for (const design of [dense, sparse]) {
			const { weights, bias, converged } = logisticRegression(design, y);
			expect(converged).toBe(true);
			for (const [i, value] of [...weights, bias].entries()) {
				expect(Math.abs(value - expected[i]!)).toBeLessThan(1e-3 * (1 + Math.abs(expected[i]!)));
			}
		}
	});

	test("on a column of zeros and ones it gives the log odds", () => {
		// 30 of 40 ones are positive, and 20 of 80 zeros.
		const x = Array.from({ length: 120 }, (_, i) => Float64Array.of(i < 40 ? 1 : 0));
		const y = x.map((_, i) => (i < 30 || (i >= 40 && i < 60) ? 1 : 0));
		const { weights, bias } = logisticRegression(denseDesign(x, 1), y, { c: 1e6 });
		expect(bias).toBeCloseTo(Math.log(20 / 60), 3);
		expect(weights[0]).toBeCloseTo(Math.log(3) - Math.log(20 / 60), 3);
	});

	test("columns are chosen by the distance of their means, the lower of two equal ones first", () => {
		const design = denseDesign([Float64Array.of(1, 0, 3, 0), Float64Array.of(0, 1, 1, 0)], 4);
		expect(mostDifferent(design, [1, 0], 4)).toEqual([2, 0, 1, 3]);
		const some = columnsOf(design, [2, 1]);
		expect(some.dot(1, Float64Array.of(10, 1))).toBe(11);
	});
});
