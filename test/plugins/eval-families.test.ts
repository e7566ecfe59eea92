import { describe, expect, test } from "bun:test";
import { core } from "../../core/api.ts";
import type { EvaluatorContribution } from "../../core/plugin.ts";
import { Cooccurrence } from "../../plugins/cooccurrence/counts.ts";
import families from "../../plugins/eval-families.ts";
import { families as familiesOf } from "../../plugins/families/trees.ts";
import { referenceContext } from "../reference/context.ts";
import { randomStream } from "../reference/models.ts";
import { identitySae, labelledStream } from "./labelled.ts";

const [evaluator] = families.contributes(core) as [EvaluatorContribution];
const WIDTH = 12;
const random = randomStream(5);

/** Latent 7 is on in every row that one of 1, 2, 3, 4 is on in, one at a time; 5 and 9 to 11 are on by themselves. */
const rows = Array.from({ length: 1200 }, (_, i) => {
	const own = [1, 2, 3, 4, 5, 9, 10, 11][i % 8]!;
	const on = own <= 4 ? [own, 7] : [own];
	return Array.from({ length: WIDTH }, (_, d) => (on.includes(d) ? 1 + random() : 0));
});

const evaluate = (options: Record<string, unknown> = {}) =>
	evaluator.evaluate(
		{ model: identitySae(WIDTH, WIDTH), stream: labelledStream(rows) },
		evaluator.options.parse(options),
		referenceContext(),
	);

describe("eval families", () => {
	test("finds a parent with its four children, and nothing else", async () => {
		const edges = await evaluate();
		expect(edges).toEqual(
			[1, 2, 3, 4].map((child) => ({
				family: 0,
				round: 1,
				root: 7,
				parent: 7,
				child,
				weight: 1,
				parent_density: 0.5,
				child_density: 0.125,
				block_ratio: null,
			})),
		);
	});

	test("has one row without figures where there are none", async () => {
		const edges = await evaluate({ least_children: 5 });
		expect(edges).toHaveLength(1);
		expect(Object.values(edges[0]!).every((value) => value === null)).toBe(true);
	});
});

describe("families", () => {
	const settings = { threshold: 0.2, rounds: 1, leastChildren: 1, overlap: 1 };
	const counted = (sets: readonly (readonly number[])[], latents: number) => {
		const counts = new Cooccurrence(latents, latents);
		for (const set of sets) counts.add(Uint32Array.from(set));
		return counts.finish();
	};

	test("a tree has the largest sum of weights of all trees", () => {
		// Every set has latent 0, so that everything is connected.
		const sets = Array.from({ length: 400 }, () =>
			[0, 1, 2, 3, 4].filter((i) => i === 0 || random() < 0.2 + 0.1 * i),
		);
		const counts = counted(sets, 5);
		const weight = (i: number, j: number) =>
			counts.together(i, j) / Math.min(counts.together(i, i), counts.together(j, j));
		// Every tree on five latents, by Prüfer's sequences.
		let best = 0;
		for (let code = 0; code < 125; code++) {
			const sequence = [code % 5, Math.floor(code / 5) % 5, Math.floor(code / 25)];
			const degree = [0, 1, 2, 3, 4].map((i) => 1 + sequence.filter((one) => one === i).length);
			let sum = 0;
			for (const one of sequence) {
				const leaf = degree.indexOf(1);
				sum += weight(leaf, one);
				degree[leaf]!--;
				degree[one]!--;
			}
			const [a, b] = [degree.indexOf(1), degree.lastIndexOf(1)];
			best = Math.max(best, sum + weight(a, b));
		}
		const found = familiesOf(counts, { ...settings, threshold: 0.01 });
		expect(found).toHaveLength(1);
		expect(found[0]!.root).toBe(0);
		expect(found[0]!.edges.reduce((sum, edge) => sum + edge.weight, 0)).toBeCloseTo(best, 9);
	});

	test("later rounds find families under a root that is gone, and smaller copies are dropped", () => {
		// 0 is always on; below it 1 with 2 and 3 as its children, and 4 by itself.
		const sets = Array.from(
			{ length: 300 },
			(_, i) =>
				[
					[0, 1, 2],
					[0, 1, 3],
					[0, 4],
				][i % 3]!,
		);
		const counts = counted(sets, 5);
		const found = familiesOf(counts, { ...settings, rounds: 2 });
		expect(found.map(({ round, root }) => [round, root])).toEqual([
			[1, 0],
			[2, 1],
		]);
		expect(found[0]!.edges).toHaveLength(4);
		expect(found[1]!.edges.map(({ parent, child, weight }) => [parent, child, weight])).toEqual([
			[1, 2, 1],
			[1, 3, 1],
		]);
		// Members {2, 3} are half of {1, 2, 3, 4}.
		expect(familiesOf(counts, { ...settings, rounds: 2, overlap: 0.5 })).toHaveLength(2);
		expect(familiesOf(counts, { ...settings, rounds: 2, overlap: 0.49 })).toHaveLength(1);
	});
});
