/** Which passages explain a latent, which judge it, and which are said to be silent. */
import { describe, expect, test } from "bun:test";
import { toyFeatures, toyWord } from "../../../core/conformance/features.ts";
import { splitExamples } from "../../../core/interpret/passages.ts";
import { PassagePool } from "../../../core/interpret/pool.ts";
import { aFeature, anExample } from "./features.ts";

describe("examples", () => {
	const example = (value: number, row: number, text = `text ${row}`) =>
		anExample([0, value, 0], ["a", text, "b"], { row, at: 1 });

	test("are apart: what explains is not what judges", () => {
		const [feature] = toyFeatures(1);
		const { shown, heldOut } = splitExamples(feature!, 10, 15);
		expect([shown.length, heldOut.length]).toEqual([10, 15]);
		const rows = new Set(shown.map(({ first }) => first));
		expect(heldOut.some(({ first }) => rows.has(first))).toBe(false);
	});

	test("that share a row or their whole text come once", () => {
		const top = [example(9, 10), example(8, 11), example(7, 20), example(6, 30, "text 20"), example(5, 40)];
		const { shown, heldOut } = splitExamples(aFeature({ top }), 10, 10);
		const all = [...shown, ...heldOut].map(({ first }) => first + 1);
		expect(all.toSorted((a, b) => a - b)).toEqual([10, 20, 40]);
	});

	test("judge by strong and weak ones alike, and are half of all at most", () => {
		const top = Array.from({ length: 20 }, (_, i) => example(20 - i, 10 * i));
		const { shown, heldOut } = splitExamples(aFeature({ top }), 6, 5);
		expect(heldOut.map(({ values }) => values[1])).toEqual([18, 14, 10, 6, 2]);
		// Half of what is shown are the largest.
		expect(shown.slice(0, 3).map(({ values }) => values[1])).toEqual([20, 19, 17]);
		expect(splitExamples(aFeature({ top: top.slice(0, 5) }), 100, 100).heldOut.length).toBe(2);
		expect(splitExamples(aFeature({}), 5, 5)).toEqual({ shown: [], heldOut: [] });
	});

	test("without texts are the numbers of tokens; without these they say nothing", () => {
		const tokens = Uint32Array.of(7, 8, 9);
		const { shown } = splitExamples(aFeature({ top: [{ ...example(1, 5), texts: [], tokens }] }), 1, 1);
		expect(shown[0]!.pieces).toEqual(["token 7", "token 8", "token 9"]);
		const silent = { ...example(1, 5), texts: [], tokens: new Uint32Array() };
		expect(splitExamples(aFeature({ top: [silent] }), 1, 1).shown).toEqual([]);
	});
});

describe("silent passages", () => {
	const poolOf = (features: ReturnType<typeof toyFeatures>) => {
		const pool = new PassagePool();
		for (const feature of features) pool.add(feature);
		return pool;
	};

	test("are those of other latents, without the latent's word, and none comes twice", () => {
		const features = toyFeatures(10);
		const pool = poolOf(features);
		for (const feature of features) {
			const { passages } = pool.negatives(feature, 20, 0);
			expect(passages.length).toBe(20);
			expect(new Set(passages.map(({ first }) => first)).size).toBe(20);
			for (const { pieces, values } of passages) {
				expect(pieces).not.toContain(toyWord(feature.latent));
				expect(values.every((value) => value === 0)).toBe(true);
			}
		}
	});

	test("never hold a row on which the latent is known to be active", () => {
		const shared = anExample([1, 2, 3], ["a", "b", "c"], { row: 2 });
		const one = aFeature({ latent: 0, count: 1, top: [shared] });
		const other = aFeature({
			latent: 1,
			count: 1,
			top: [shared, anExample([0, 5], ["x", "y"], { row: 51 })],
		});
		const { passages } = poolOf([one, other]).negatives(one, 5, 0);
		expect(passages.map(({ pieces }) => pieces.join(""))).toEqual(["xy"]);
	});

	test("come from latents that are alike first, but not from those that are on together", () => {
		const features = toyFeatures(30);
		const near = {
			...features[0]!,
			nearest: [
				{ latent: 7, cosine: 0.9 },
				{ latent: 8, cosine: 0.8 },
			],
		};
		const pool = poolOf(features);
		const words = (feature: typeof near) =>
			pool
				.negatives(feature, 4, 0)
				.passages.map(({ pieces }) => pieces.find((piece) => piece.startsWith(" word")));
		expect(words(near).slice(0, 2)).toEqual([toyWord(7), toyWord(8)]);
		const together = { ...near, cooccurring: [{ latent: 7, jaccard: 0.5, phi: 0.6 }] };
		expect(words(together)[0]).toBe(toyWord(8));
		expect(words(together)).not.toContain(toyWord(7));
	});

	test("are the same for a seed, and doubtful where a latent is active often", () => {
		const features = toyFeatures(10);
		const pool = poolOf(features);
		const [feature] = features;
		expect(pool.negatives(feature!, 8, 1)).toEqual(pool.negatives(feature!, 8, 1));
		expect(pool.negatives(feature!, 8, 1)).not.toEqual(pool.negatives(feature!, 8, 2));
		const { doubt } = pool.negatives({ ...feature!, density: 0.1 }, 8, 1);
		// Passages have twelve rows.
		expect(doubt).toBeCloseTo(1 - 0.9 ** 12, 12);
		expect(new PassagePool().negatives(feature!, 8, 1)).toEqual({ passages: [], doubt: 0 });
	});
});
