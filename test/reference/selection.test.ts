import { expect, test } from "bun:test";
import { type LossTerm, RELU, type Selection, type TrainingSpec } from "../../core/architecture.ts";
import { scheduled } from "./encoder.ts";
import { select } from "./selection.ts";

/** What is kept of these rows of four pre-activations; of product keys, of those of four keys. */
function kept(rows: number[][], selection: Selection, more: Partial<LossTerm> = {}, quotas: number[] = []) {
	const d_sae = 4;
	const spec: TrainingSpec = {
		parameters: [],
		apply_b_dec_to_input: false,
		loss: [
			{
				name: "reconstruction",
				latents: "all",
				select: selection,
				target: "data",
				bias: true,
				reduction: "sum",
				weight: 1,
				...more,
			},
		],
	};
	const identity = Float64Array.from({ length: d_sae * d_sae }, (_, i) => (i % (d_sae + 1) === 0 ? 1 : 0));
	const parameters = {
		W_enc: identity,
		W_dec: identity,
		b_enc: new Float64Array(d_sae),
		b_dec: new Float64Array(d_sae),
	};
	const x = Float64Array.from(rows.flat());
	return select(spec, { parameters, dead: [0, 2] }, { x }, { progress: 0, update: 1, quotas })[0];
}

test("topk keeps positive values, ties to the lowest latent", () => {
	const rows = [
		[1, 2, 1, 1],
		[-1, -2, 3, 0],
		[1, 1, 1, 1],
	];
	expect(kept(rows, { kind: "topk", k: 2 })).toEqual([[0, 1], [2], [0, 1]]);
	expect(kept(rows, { kind: "topk", k: 2 }, { latents: "dead" })).toEqual([[0, 2], [2], [0, 2]]);
});

test("topk by magnitude keeps what is farthest from 0", () => {
	const activation = { ...RELU, keep: "true" };
	const select: Selection = { kind: "topk", k: 2, by: "magnitude" };
	expect(kept([[1, -3, -2, 2]], select, { activation })).toEqual([[1, 2]]);
});

test("batch_topk shares k · rows among rows, ties to the lowest row", () => {
	const rows = [
		[5, 4, 3, 0],
		[3, 3, -9, -9],
		[9, 3, 0, 0],
	];
	expect(kept(rows, { kind: "batch_topk", k: 1 })).toEqual([[0, 1], [], [0]]);
	expect(kept(rows, { kind: "batch_topk", k: 2 })).toEqual([[0, 1, 2], [0, 1], [0]]);
	expect(kept(rows, { kind: "batch_topk", k: 4 })).toEqual([
		[0, 1, 2],
		[0, 1],
		[0, 1],
	]);
});

test("feature_topk gives each latent its quota of rows, ties to the lowest row", () => {
	const rows = [
		[1, 2, -1, 4],
		[1, 3, -1, 5],
		[2, 1, 7, 6],
	];
	expect(kept(rows, { kind: "feature_topk" }, {}, [2, 1, 3, 0])).toEqual([[0], [1], [0, 2]]);
});

test("group_max keeps the largest of each run of latents", () => {
	const rows = [
		[1, 2, 3, 3],
		[-1, -2, 0, 1],
	];
	expect(kept(rows, { kind: "group_max", groups: 2 })).toEqual([[1, 2], [3]]);
});

test("product_keys adds two keys up", () => {
	// z of (0, 0), (0, 1), (1, 0), (1, 1) is 11, 21, 12, 22.
	expect(kept([[1, 2, 10, 20]], { kind: "product_keys", k: 2 })).toEqual([[1, 3]]);
});

test("all keeps what the activation keeps", () => {
	const activation = { ...RELU, keep: "z > -1.5 && z < 3.0" };
	expect(kept([[-1, 2, -2, 3]], { kind: "all" }, { activation })).toEqual([[0, 1]]);
});

test.each([
	[0, 1],
	[0.25, 1],
	[0.5, 3],
	[0.75, 5],
	[1, 5],
])("a schedule from 1 to 5 over the middle half is, at %p, %p", (progress, value) => {
	expect(scheduled({ from: 1, to: 5, begin: 0.25, until: 0.75 }, progress)).toBe(value);
});

test.each([
	[0.24, 1],
	[0.25, 0.75],
	[0.49, 0.75],
	[0.99, 0.25],
	[1, 0],
])("a schedule of four stages from 1 to 0 is, at %p, %p", (progress, value) => {
	expect(scheduled({ from: 1, to: 0, until: 1, stages: 4 }, progress)).toBe(value);
});
