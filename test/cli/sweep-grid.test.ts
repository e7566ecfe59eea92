/** Which SAEs the words of a sweep ask for, and which of them train together. */
import { describe, expect, test } from "bun:test";
import { z } from "zod";
import { type Axes, expandGrid, numbers } from "../../cli/sweep/grid.ts";
import { bytesText, packGroups } from "../../cli/sweep/groups.ts";

const AXES: Axes = { d_sae: [64], seed: [0], lr: [] };
const expand = (specs: string[], axes: Partial<Axes> = {}) => expandGrid(specs, { ...AXES, ...axes });
const names = async (...args: Parameters<typeof expand>) =>
	(await expand(...args)).saes.map(({ name }) => name);

describe("a grid", () => {
	test("is every combination, in the order of the words", async () => {
		const { saes, varied } = await expand(["topk --k 8,16"], { d_sae: [64, 128], seed: [0, 1], lr: [0.1] });
		expect(saes.map(({ name }) => name)).toEqual([
			"topk-k8-d-sae64-seed0-lr0.1",
			"topk-k8-d-sae64-seed1-lr0.1",
			"topk-k8-d-sae128-seed0-lr0.1",
			"topk-k8-d-sae128-seed1-lr0.1",
			"topk-k16-d-sae64-seed0-lr0.1",
			"topk-k16-d-sae64-seed1-lr0.1",
			"topk-k16-d-sae128-seed0-lr0.1",
			"topk-k16-d-sae128-seed1-lr0.1",
		]);
		expect(saes[5]).toMatchObject({
			architecture: { name: "topk" },
			options: { k: 16, multi_topk: 0 },
			d_sae: 64,
			seed: 1,
			lr: 0.1,
		});
		expect(varied).toEqual(["k"]);
	});

	test("has specs with values of their own, however they are written", async () => {
		expect(
			await names(["topk --k 8 --d-sae=16,32 --lr 1e-3,1e-4", "topk:k=4,seed=7", "topk"], { lr: [0.5] }),
		).toEqual([
			"topk-k8-d-sae16-seed0-lr0.001",
			"topk-k8-d-sae16-seed0-lr0.0001",
			"topk-k8-d-sae32-seed0-lr0.001",
			"topk-k8-d-sae32-seed0-lr0.0001",
			"topk-k4-d-sae64-seed7-lr0.5",
			"topk-d-sae64-seed0-lr0.5",
		]);
	});

	test("has an L0 to reach as a column, as options have", async () => {
		const { saes, varied } = await expand(["topk --target-l0 8,16"]);
		expect(saes.map(({ name, target_l0 }) => [name, target_l0])).toEqual([
			["topk-target-l0_8-d-sae64-seed0", 8],
			["topk-target-l0_16-d-sae64-seed0", 16],
		]);
		expect(varied).toEqual(["target_l0"]);
	});

	test("splits choices too, and names every option that any spec names", async () => {
		const grid = await expand(["topk --pre-bias mean,zeros", "topk --aux-weight 0,0.1"]);
		expect(grid.saes.map(({ options }) => [options.pre_bias, options.aux_weight])).toEqual([
			["mean", 1 / 32],
			["zeros", 1 / 32],
			["geometric_median", 0],
			["geometric_median", 0.1],
		]);
		expect(grid.varied).toEqual(["pre_bias", "aux_weight"]);
	});

	// biome-ignore format: one case a line
	test.each([
		["topk --k 8,x", '--sae topk --k 8,x: --k: must be a number, got "x"'],
		["topk --q 8", "--sae topk --q 8: unknown option --q; did you mean --k?"],
		["topk --k", "--k needs a value"],
		["topk 8", "unexpected argument 8"],
		["topk --k 0", "--k: must be at least 1, got 0"],
		["tpok --k 8", "unknown architecture tpok; did you mean topk?"],
		["topk --k 8,16,8", "the sweep asks for topk-k8-d-sae64-seed0 twice"],
	])("refuses %s", async (spec, message) => {
		await expect(expand([spec])).rejects.toThrow(message);
	});
});

test("numbers come as words, as a number or as an array", () => {
	const list = numbers(z.int().min(1));
	expect([list.parse("1,2k"), list.parse(3), list.parse([4, 5])]).toEqual([[1, 2000], [3], [4, 5]]);
	for (const wrong of ["", "1,", "0", "1,two", 0.5, []]) expect(list.safeParse(wrong).success).toBe(false);
});

describe("groups", () => {
	const pack = (sizes: number[], memory: number) => packGroups(sizes, (size) => size, memory);

	test("hold neighbours, as many as fit", () => {
		expect(pack([1, 2, 3, 4, 5], 6)).toEqual([[1, 2, 3], [4], [5]]);
		expect(pack([3, 3, 3, 3], 6)).toEqual([
			[3, 3],
			[3, 3],
		]);
		expect(pack([], 6)).toEqual([]);
	});

	test("hold what is too large by itself", () => {
		expect(pack([9, 1, 9, 1, 1], 2)).toEqual([[9], [1], [9], [1, 1]]);
	});
});

test("bytes are written in powers of ten", () => {
	expect([999, 12_345, 1.5e9].map(bytesText)).toEqual(["999 B", "12.3 kB", "1.50 GB"]);
});
