import { afterAll, beforeAll, describe, expect, test } from "bun:test";
import { mkdtemp, rm } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { core } from "../../core/api.ts";
import type { TextTokenizer } from "../../core/model/index.ts";
import type { EvaluatorContribution } from "../../core/plugin.ts";
import type { SaeModel } from "../../core/sae.ts";
import { each } from "../../core/stream.ts";
import { absorptionOf, accepted } from "../../plugins/absorption/absorption.ts";
import { rankLatents } from "../../plugins/absorption/letter.ts";
import { tokenWords } from "../../plugins/absorption/words.ts";
import absorption from "../../plugins/eval-absorption.ts";
import { denseDesign } from "../../plugins/probing/examples.ts";
import { l1Regression } from "../../plugins/probing/l1.ts";
import { referenceContext } from "../reference/context.ts";
import { randomStream } from "../reference/models.ts";
import { identitySae, labelledStream } from "./labelled.ts";

const TOKENIZER = join(import.meta.dir, "../../demo/data/model");

const [evaluator] = absorption.contributes(core) as [EvaluatorContribution];

describe("absorption of a row", () => {
	// The parent is dimension 0, the child dimension 1, the row their sum; the probe is the parent's direction.
	const row = (values: readonly (readonly [latent: number, value: number])[], cosines: readonly number[]) =>
		absorptionOf(
			{
				index: Uint32Array.from(values, ([latent]) => latent),
				value: Float64Array.from(values, ([, value]) => value),
			},
			1,
			{ cosine: Float64Array.from(cosines), norm: Float64Array.of(1, 1), main: new Set([0]) },
		);

	test("is none for the dictionary that made the data", () => {
		expect(
			row(
				[
					[0, 1],
					[1, 1],
				],
				[1, 0],
			),
		).toEqual({ full: false, fraction: 0 });
	});

	test("is full where the child's latent is the sum and the parent's is silent", () => {
		expect(row([[1, Math.SQRT2]], [1, Math.SQRT1_2])).toEqual({ full: true, fraction: 1 });
	});

	test("is half where both carry half", () => {
		const { full, fraction } = row(
			[
				[0, 0.5],
				[1, Math.sqrt(1.25)],
			],
			[1, 0.5 / Math.sqrt(1.25)],
		);
		expect(full).toBe(false);
		expect(fraction).toBeCloseTo(0.5, 12);
	});

	test("needs a latent in the probe's direction, with enough of the row", () => {
		expect(row([[1, 5]], [1, 0.02])).toEqual({ full: false, fraction: 0 });
		expect(row([[1, 0.5]], [1, 0.7])).toEqual({ full: false, fraction: 0 });
	});

	test("is what the rules give when they are followed one by one", () => {
		const random = randomStream(12);
		const seen = new Set<string>();
		for (let trial = 0; trial < 400; trial++) {
			const active = Array.from({ length: 7 }, () => (random() < 0.6 ? random() : 0));
			const cosine = Float64Array.from({ length: 7 }, () => random() * 0.9 - 0.2);
			const norm = Float64Array.from({ length: 7 }, () => 0.5 + random());
			const P = random() * 1.2 - 0.1;
			let [M, top, best] = [0, -1, Number.NEGATIVE_INFINITY];
			const rest: number[] = [];
			for (let i = 0; i < 7; i++) {
				const share = active[i]! * norm[i]! * cosine[i]!;
				if (i < 2) M += share;
				else if (active[i]! > 0 && share > best) [top, best] = [i, share];
				if (i >= 2 && cosine[i]! >= 0.1 && share > 0) rest.push(share);
			}
			const quiet = active[0] === 0 && active[1] === 0;
			const full = quiet && top >= 0 && cosine[top]! >= 0.025 && P >= 0 && best / P >= 0.4;
			rest.sort((a, b) => b - a);
			const A = (rest[0] ?? 0) + (rest[1] ?? 0) + (rest[2] ?? 0);
			let fraction = 1;
			if (P <= 0 || M >= P || A / P < 0.4) fraction = 0;
			else if (M > 0) fraction = Math.min(A, P - M) / (Math.min(A, P - M) + M);
			const index = Uint32Array.from([0, 1, 2, 3, 4, 5, 6].filter((i) => active[i]! > 0));
			const value = Float64Array.from(index, (i) => active[i]!);
			const found = absorptionOf({ index, value }, P, { cosine, norm, main: new Set([0, 1]) });
			expect(found.full).toBe(full);
			expect(found.fraction).toBeCloseTo(fraction, 12);
			seen.add(`${full} ${fraction === 0 || fraction === 1 ? fraction : "part"}`);
		}
		expect([...seen].sort()).toEqual(["false 0", "false 1", "false part", "true 1"]);
	});

	test("splitting stops at the first latent that gains too little", () => {
		const of = (...scores: number[]) => accepted(scores.length, (count) => scores[count - 1]!);
		expect(of(0.5, 0.6, 0.62, 0.9)).toEqual([0.5, 0.6]);
		expect(of(0.5)).toEqual([0.5]);
		expect(of(0.5, 0.6, 0.7)).toEqual([0.5, 0.6, 0.7]);
	});
});

describe("eval absorption", () => {
	let folder: string;
	beforeAll(async () => {
		folder = await mkdtemp(join(tmpdir(), "sae-absorption-"));
	});
	afterAll(() => rm(folder, { recursive: true }));

	const WIDTH = 6;
	// Dimensions 0 to 2: the letters A, B, C; dimension 4: the word "apple" as well.
	const words = Array.from({ length: 600 }, (_, i) => ["Ġapple", "Ġant", " Art", "box", "cat", "x1"][i % 6]!);
	const rows = words.map((word) => {
		const letter = "abc".indexOf(word.replace(/[^a-z]/gi, "")[0]!.toLowerCase());
		return Array.from({ length: WIDTH }, (_, d) => Number(d === letter || (d === 4 && word === "Ġapple")));
	});
	const evaluate = (model: SaeModel, texts = words, given: Record<string, unknown> = {}, of = rows) =>
		evaluator.evaluate(
			{ model, stream: labelledStream(of, { word: texts }) },
			evaluator.options.parse({ word: "word", split_by: "rows", ...given }),
			referenceContext(),
		);

	test("is 0 for the dictionary that made the data", async () => {
		const [mean, a, b, c] = await evaluate(identitySae(WIDTH, WIDTH));
		expect([a, b, c].map((row) => [row!.letter, row!.words, row!.main_latents])).toEqual([
			["A", 300, "0"],
			["B", 100, "1"],
			["C", 100, "2"],
		]);
		expect(mean).toMatchObject({
			letter: "mean of 3",
			split: 1,
			probe_f1: 1,
			full_absorption: 0,
			absorption_fraction: 0,
		});
	});

	test("is full on the words whose own latent has taken the letter in", async () => {
		// Latent 4 fires at 2 for "apple" and decodes to letter and word; latent 0 is off then.
		const model = identitySae(WIDTH, WIDTH);
		model.tensors.W_enc!.data[4 * WIDTH + 0] = -1;
		model.tensors.W_dec!.data[4 * WIDTH + 0] = 1;
		const [, a] = await evaluate(model);
		// One more latent makes A's probe better, and belongs to the letter then: splitting is no absorption.
		expect(a).toMatchObject({ split: 2, main_latents: "0 4", full_absorption: 0 });
		const rare = identitySae(WIDTH, WIDTH);
		const few = words.map((word, i) => (word === "Ġapple" && i % 60 > 0 ? "?" : word));
		rare.tensors.W_enc!.data.set(model.tensors.W_enc!.data);
		rare.tensors.W_dec!.data.set(model.tensors.W_dec!.data);
		const [, scarce] = await evaluate(rare, few);
		expect(scarce).toMatchObject({ words: 210, split: 1, main_latents: "0" });
		// Two of 42 test words, or as many as the split has drawn.
		const apples = Number(scarce!.full_absorption) * Number(scarce!.true_positives);
		expect(apples).toBeGreaterThan(0);
		expect(Math.abs(apples - Math.round(apples))).toBeLessThan(1e-9);
		expect(scarce!.absorption_fraction).toBeCloseTo(Number(scarce!.full_absorption), 12);
	});

	test("says it in SAEBench's JSON", async () => {
		const path = join(folder, "absorption.json");
		const model = identitySae(WIDTH, WIDTH);
		const [mean, a] = await evaluate(model, words, { saebench: path });
		const result = await Bun.file(path).json();
		expect(result).toMatchObject({
			eval_type_id: "absorption_first_letter",
			eval_config: { random_seed: 42, f1_jump_threshold: 0.03, max_k_value: 10 },
			eval_result_metrics: {
				mean: {
					mean_full_absorption_score: mean!.full_absorption,
					mean_absorption_fraction_score: mean!.absorption_fraction,
					mean_num_split_features: 1,
					std_dev_num_split_features: 0,
				},
			},
		});
		expect(result.eval_result_details.map((one: { first_letter: string }) => one.first_letter)).toEqual([
			"a",
			"b",
			"c",
		]);
		expect(result.eval_result_details[0]).toMatchObject({
			num_probe_true_positives: a!.true_positives,
			num_full_absorption: 0,
			num_split_features: 1,
		});
	});

	test("by words, probes are measured on words that they have not seen", async () => {
		// Rows that say which word it is, and nothing of its letter.
		const some = [..."abc"].flatMap((letter) => [..."uvwxyz"].map((rest) => letter + rest));
		const texts = Array.from({ length: 20 * some.length }, (_, i) => some[i % some.length]!);
		const hot = texts.map((word) => some.map((other) => Number(other === word)));
		const model = identitySae(some.length, 2);
		const [, known] = await evaluate(model, texts, { split_by: "rows" }, hot);
		expect(known!.probe_f1).toBe(1);
		const [none, unseen] = await evaluate(model, texts, { split_by: "words" }, hot);
		expect(none!.letter).toBe("mean of 0");
		expect(unseen!.probe_f1).toBeLessThan(0.6);
	});

	test("words may be tokens of a tokenizer, spelled with a space or without", async () => {
		const tokenizer = await core.openTokenizer(TOKENIZER);
		const spelled = Array.from({ length: 800 }, (_, id) => ({ id, text: tokenizer.decode([id]) }));
		expect(spelled.some(({ text }) => /^ [a-z]+$/.test(text))).toBe(true);
		expect(spelled.some(({ text }) => /^[a-z]+$/.test(text))).toBe(true);
		const letterOf = (text: string) => (/^ ?[a-z]+$/i.test(text) ? text.trim()[0]!.toLowerCase() : "");
		const hot = spelled.map(({ text }) =>
			Array.from({ length: 26 }, (_, i) => Number(letterOf(text) === String.fromCharCode(97 + i))),
		);
		const model = identitySae(26, 1);
		const schema = core.activationsSchema({ width: 26, type: "float32", columns: ["token"] });
		const vectors = {
			data: Float32Array.from(hot.flat()),
			rows: hot.length,
			width: 26,
			type: "float32",
		} as const;
		const token = Uint32Array.from(spelled, ({ id }) => id);
		const stream = { schema, batches: each([core.activationsBatch(schema, vectors, { token })]) };
		const byToken = await evaluator.evaluate(
			{ model, stream },
			evaluator.options.parse({ tokenizer: TOKENIZER }),
			referenceContext(),
		);
		expect(byToken.length).toBeGreaterThan(8);
		expect(byToken[0]).toMatchObject({ probe_f1: 1, split: 1, full_absorption: 0, absorption_fraction: 0 });
		for (const row of byToken.slice(1)) {
			expect(row.main_latents).toBe(String(String(row.letter).charCodeAt(0) - 65));
		}
		const texts = spelled.map(({ text }) => text);
		expect(await evaluate(model, texts, { split_by: "words" }, hot)).toEqual(byToken);
	});

	test("special tokens, parts of words and signs are no words", () => {
		const texts = [
			" Apple",
			"apple",
			"\u2581Ant",
			"##ing",
			"a1",
			"<s>",
			"pad",
			"",
			" ",
			"\u00e9t\u00e9",
			"it's",
		];
		const stub = {
			special: new Set([6]),
			decode: (ids: Iterable<number>) => texts[[...ids][0]!]!,
		} as unknown as TextTokenizer;
		const schema = core.activationsSchema({ width: 1, type: "float32", columns: ["token"] });
		const data = new Float32Array(texts.length);
		const batch = core.activationsBatch(
			schema,
			{ data, rows: texts.length, width: 1, type: "float32" },
			{ token: Uint32Array.from(texts.keys()) },
		);
		expect(tokenWords(core, stub, "token")(batch)).toEqual([
			"apple",
			"apple",
			"ant",
			...new Array(8).fill(""),
		]);
	});

	test("needs to know what the words are", async () => {
		await expect(evaluate(identitySae(WIDTH, 2), words, { tokenizer: TOKENIZER })).rejects.toThrow(
			"give --word, a column of words, or --tokenizer",
		);
		await expect(evaluate(identitySae(WIDTH, 2), words, { word: undefined })).rejects.toThrow(
			"give --word, a column of words, or --tokenizer",
		);
	});

	test("refuses columns without words", async () => {
		await expect(
			evaluate(
				identitySae(WIDTH, 2),
				words.map(() => "12"),
			),
		).rejects.toThrow("fewer than two letters");
	});
});

describe("an L1-regularised probe", () => {
	const random = randomStream(5);
	const x = Array.from({ length: 300 }, () => Float64Array.from({ length: 6 }, () => random() * 2 - 1));
	const y = x.map((row) => Number(row[1]! + 0.3 * row[4]! + random() - 0.5 > 0.6));
	const positive = (y.length - y.reduce((a, b) => a + b)) / y.reduce((a, b) => a + b);

	test("is where no step goes further down: slopes are the penalty's", () => {
		for (const penalty of [0.003, 0.03, 0.2]) {
			const { weights, bias } = l1Regression(denseDesign(x, 6), y, { penalty, positive });
			const slope = new Float64Array(7);
			for (const [row, values] of x.entries()) {
				const margin = values.reduce((sum, value, i) => sum + value * weights[i]!, bias);
				const weight = (y[row] ? -positive : 1) / (1 + Math.exp(y[row] ? margin : -margin)) / x.length;
				for (const [i, value] of values.entries()) slope[i]! += weight * value;
				slope[6]! += weight;
			}
			expect(Math.abs(slope[6]!)).toBeLessThan(1e-5);
			for (const [i, weight] of weights.entries()) {
				if (weight === 0) expect(Math.abs(slope[i]!)).toBeLessThanOrEqual(penalty);
				else expect(slope[i]).toBeCloseTo(-Math.sign(weight) * penalty, 5);
			}
			expect(weights.filter((weight) => weight !== 0).length).toBe({ 0.003: 6, 0.03: 2, 0.2: 1 }[penalty]!);
		}
	});

	test("ranks what tells the letter by itself above what only goes with it", () => {
		// Column 0 is the letter; column 1 is larger, and on for half of the others too.
		const labels = Array.from({ length: 200 }, (_, i) => Number(i % 4 === 0));
		const rows = labels.map((label, i) => Float64Array.of(label, label ? 5 : i % 2 ? 5 : 0));
		const design = denseDesign(rows, 2);
		expect(rankLatents(design, labels, "difference")).toEqual([1, 0]);
		expect(rankLatents(design, labels, "l1")).toEqual([0, 1]);
	});
});
