import { describe, expect, test } from "bun:test";
import { core } from "../../core/api.ts";
import type { EvaluatorContribution } from "../../core/plugin.ts";
import type { SaeModel } from "../../core/sae.ts";
import { absorptionOf, splitCount } from "../../plugins/absorption/absorption.ts";
import absorption from "../../plugins/eval-absorption.ts";
import { referenceContext } from "../reference/context.ts";
import { randomStream } from "../reference/models.ts";
import { identitySae, labelledStream } from "./labelled.ts";

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
		expect(splitCount([0.5, 0.6, 0.62, 0.9])).toBe(2);
		expect(splitCount([0.5])).toBe(1);
		expect(splitCount([0.5, 0.6, 0.7])).toBe(3);
	});
});

describe("eval absorption", () => {
	const WIDTH = 6;
	// Dimensions 0 to 2: the letters A, B, C; dimension 4: the word "apple" as well.
	const words = Array.from({ length: 600 }, (_, i) => ["Ġapple", "Ġant", " Art", "box", "cat", "x1"][i % 6]!);
	const rows = words.map((word) => {
		const letter = "abc".indexOf(word.replace(/[^a-z]/gi, "")[0]!.toLowerCase());
		return Array.from({ length: WIDTH }, (_, d) => Number(d === letter || (d === 4 && word === "Ġapple")));
	});
	const evaluate = (model: SaeModel, texts = words) =>
		evaluator.evaluate(
			{ model, stream: labelledStream(rows, { word: texts }) },
			evaluator.options.parse({ word: "word" }),
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

	test("refuses columns without words", async () => {
		await expect(
			evaluate(
				identitySae(WIDTH, 2),
				words.map(() => "12"),
			),
		).rejects.toThrow("fewer than two letters");
	});
});
