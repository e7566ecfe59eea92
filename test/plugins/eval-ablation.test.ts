/** Evaluators that take latents out of what a probe sees: tpp and scr. */
import { afterAll, beforeAll, describe, expect, test } from "bun:test";
import { mkdtemp, rm } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { core } from "../../core/api.ts";
import type { EvaluatorContribution } from "../../core/plugin.ts";
import type { SaeModel } from "../../core/sae.ts";
import { accuracyWithout, attributed } from "../../plugins/ablation/probes.ts";
import scr from "../../plugins/eval-scr.ts";
import tpp from "../../plugins/eval-tpp.ts";
import { referenceContext } from "../reference/context.ts";
import { randomStream } from "../reference/models.ts";
import { identitySae, labelledStream } from "./labelled.ts";

const WIDTH = 12;
const random = randomStream(8);

let folder: string;
beforeAll(async () => {
	folder = await mkdtemp(join(tmpdir(), "sae-ablation-"));
});
afterAll(() => rm(folder, { recursive: true }));

function evaluate(
	plugin: typeof tpp,
	rows: number[][],
	columns: Record<string, string[]>,
	given: Record<string, unknown>,
	model: SaeModel = identitySae(WIDTH, WIDTH),
) {
	const [evaluator] = plugin.contributes(core) as [EvaluatorContribution];
	const stream = labelledStream(rows, columns);
	return evaluator.evaluate({ model, stream }, evaluator.options.parse(given), referenceContext());
}

/** Noise that stays positive, so that latents carry all of a row. */
const noise = () => Array.from({ length: WIDTH }, () => 0.1 * random());

test("latents are ordered by their effect on the probe, and taken out of its logit", () => {
	const latents = (index: number[], value: number[]) => ({
		index: Uint32Array.from(index),
		value: Float64Array.from(value),
	});
	const example = (activation: number, own: ReturnType<typeof latents>) => ({
		label: "",
		activations: Float64Array.of(activation),
		latents: own,
	});
	// Latent 0 falls on the class, 1 and 2 rise; 2 points away from it, 3 has no direction.
	const examples = [
		example(3, latents([1, 2, 3], [2, 1, 5])),
		example(-1, latents([0], [4])),
		example(1, latents([1], [1])),
	];
	const labels = [1, 0, 0];
	const probe = { weights: Float64Array.of(1), bias: -2, along: Float64Array.of(1, 1, -0.25, 0) };
	expect(attributed({ examples, labels }, probe, "rise")).toEqual([1]);
	expect(attributed({ examples, labels }, probe, "size")).toEqual([0, 1, 2]);
	expect(accuracyWithout({ examples, labels }, probe)).toBe(1);
	// 3 − 2 − 2 · 1 < 0.
	expect(accuracyWithout({ examples, labels }, probe, [1])).toBe(2 / 3);
	expect(accuracyWithout({ examples, labels }, probe, [1, 2])).toBe(2 / 3);
	expect(accuracyWithout({ examples, labels }, probe, [2])).toBe(1);
});

describe("eval tpp", () => {
	// Eight classes, each with a dimension of its own.
	const labels = Array.from({ length: 800 }, (_, i) => "stuvwxyz"[i % 8]!);
	const rows = labels.map((label) => {
		const row = noise();
		row["stuvwxyz".indexOf(label)]! += 1;
		return row;
	});

	test("is one half where every class has a latent of its own: its probe is left to guess, the others are not", async () => {
		const path = join(folder, "tpp.json");
		const given = { label: "kind", latents: "1,2", saebench: path };
		const [mean, first] = await evaluate(tpp, rows, { kind: labels }, given);
		expect(mean).toMatchObject({ class: "mean", probe_accuracy: 1, tpp_1: 0.5, intended_1: 0.5 });
		expect(mean!.unintended_1).toBe(0);
		expect(Number(mean!.random_tpp_2)).toBeLessThan(0.2);
		expect(String(first!.latents).split(" ")[0]).toBe("0");
		const result = await Bun.file(path).json();
		expect(result).toMatchObject({
			eval_type_id: "tpp",
			eval_config: { n_values: [1, 2] },
			eval_result_metrics: {
				tpp_metrics: {
					tpp_threshold_1_total_metric: 0.5,
					tpp_threshold_1_intended_diff_only: 0.5,
					tpp_threshold_1_unintended_diff_only: 0,
				},
			},
			eval_result_details: [{ dataset_name: "kind", tpp_threshold_1_total_metric: 0.5 }],
		});
	});

	test("is about nothing where one latent carries all classes", async () => {
		// Latent 8 is on with every class and decodes to all of them; the classes' own latents are deaf.
		const model = identitySae(WIDTH, WIDTH);
		for (let d = 0; d < 8; d++) {
			model.tensors.W_enc!.data[d * WIDTH + d] = 0;
			model.tensors.W_enc!.data[d * WIDTH + 8] = 1;
			model.tensors.W_dec!.data[8 * WIDTH + d] = 1;
		}
		const [mean] = await evaluate(tpp, rows, { kind: labels }, { label: "kind", latents: "1" }, model);
		expect(Math.abs(Number(mean!.tpp_1))).toBeLessThan(0.25);
	});

	test("refuses SAEs whose latents do not add up to their input", async () => {
		const wide = { ...identitySae(WIDTH, 2), d_out: 3 };
		await expect(evaluate(tpp, rows, { kind: labels }, { label: "kind" }, wide)).rejects.toThrow(
			"reconstructs another width",
		);
		const normal = { ...identitySae(WIDTH, 2), normalize_activations: "layer_norm" as const };
		await expect(evaluate(tpp, rows, { kind: labels }, { label: "kind" }, normal)).rejects.toThrow(
			"normalises every row by its own numbers",
		);
		const transcoder = { ...identitySae(WIDTH, 2), architecture: "transcoder" };
		await expect(evaluate(tpp, rows, { kind: labels }, { label: "kind" }, transcoder)).rejects.toThrow(
			"reconstructs something else than it encodes",
		);
	});
});

describe("eval scr", () => {
	// What is asked for is faint, what comes along with it is loud; each class of either has a dimension.
	const cells = Array.from({ length: 800 }, (_, i) => [i & 1, (i >> 1) & 1] as const);
	const rows = cells.map(([job, gender]) => {
		const row = noise();
		row[job]! += 1;
		row[2 + gender]! += 3;
		return row;
	});
	const columns = {
		job: cells.map(([job]) => ["nurse", "professor"][job]!),
		gender: cells.map(([, gender]) => ["female", "male"][gender]!),
	};
	const given = { label: "job", spurious: "gender", latents: "1,2" };

	test("is one where the latents of what came along can be taken out", async () => {
		const path = join(folder, "scr.json");
		const [metric, first, second] = await evaluate(scr, rows, columns, { ...given, saebench: path });
		expect(first).toMatchObject({ direction: "1", test_on: "job", clean_accuracy: 1, scr_2: 1 });
		expect(Number(first!.biased_accuracy)).toBeLessThan(0.6);
		expect(String(first!.latents).split(" ").slice(0, 2).sort()).toEqual(["2", "3"]);
		// The biased probe tells genders well: there is nothing to win back.
		expect(second).toMatchObject({ direction: "2", test_on: "gender", biased_accuracy: 1, scr_2: 0 });
		expect(metric).toEqual({ ...first, direction: "metric" });
		expect(await Bun.file(path).json()).toMatchObject({
			eval_type_id: "scr",
			eval_result_metrics: {
				scr_metrics: { scr_metric_threshold_2: 1, scr_dir1_threshold_2: 1, scr_dir2_threshold_2: 0 },
			},
		});
	});

	test("is nothing where no latent tells both apart", async () => {
		// Both of a row's classes are decoded by the same latents.
		const model = identitySae(WIDTH, WIDTH);
		const { W_enc, W_dec } = model.tensors;
		W_enc!.data.fill(0);
		W_dec!.data.fill(0);
		for (let job = 0; job < 2; job++) {
			for (let gender = 0; gender < 2; gender++) {
				const latent = 4 + 2 * job + gender;
				W_enc!.data[job * WIDTH + latent] = 1;
				W_enc!.data[(2 + gender) * WIDTH + latent] = 1;
				model.tensors.b_enc!.data[latent] = -3.3;
				W_dec!.data[latent * WIDTH + job] = 1;
				W_dec!.data[latent * WIDTH + 2 + gender] = 3;
			}
		}
		const [metric] = await evaluate(scr, rows, columns, { ...given, latents: "4" }, model);
		expect(Number(metric!.scr_4)).toBeLessThan(0.2);
	});

	test("needs two classes in either column, and every combination", async () => {
		const three = { ...columns, job: columns.job.map((job, i) => (i % 5 ? job : "nurse aide")) };
		await expect(evaluate(scr, rows, three, given)).rejects.toThrow("column job: has 3 classes");
		const never = { ...columns, job: columns.gender.map((gender) => (gender === "male" ? "x" : "y")) };
		await expect(evaluate(scr, rows, never, given)).rejects.toThrow("x with female has 0 examples");
	});
});
