import { afterAll, beforeAll, describe, expect, test } from "bun:test";
import { type Gpu, openGpu } from "../../core/gpu/device.ts";
import { levels, levelWeights } from "../../plugins/msae.ts";
import { encode, freshRows, recover, reloaded } from "./recovering.ts";

let gpu: Gpu;
beforeAll(async () => {
	gpu = await openGpu();
});
afterAll(() => gpu.close());

describe("levels", () => {
	test.each<[number, number, number[]]>([
		[64, 512, [64, 128, 256, 512]],
		[64, 600, [64, 128, 256, 512, 600]],
		[3, 4, [3, 4]],
		[8, 8, [8]],
	])("from %d to %d double", (k, d_sae, expected) => {
		expect(levels(k, d_sae)).toEqual(expected);
	});

	test("weigh the same, or the sparsest most", () => {
		expect(levelWeights("uniform", 4)).toEqual([0.25, 0.25, 0.25, 0.25]);
		expect(levelWeights("reversed", 4)).toEqual([0.4, 0.3, 0.2, 0.1]);
	});
});

test("an MSAE reconstructs better with every code more, where TopK's codes over k are noise", async () => {
	const run = { steps: 400, batch: 64 };
	const [msae, topk] = [await recover(gpu, "msae", { k: 4 }, run), await recover(gpu, "topk", { k: 4 }, run)];
	expect(msae.model).toMatchObject({ architecture: "topk", settings: { k: 4 } });
	const rows = await freshRows(500);
	const curve = async (model: typeof msae.model) => {
		const fvus: number[] = [];
		for (const k of [4, 8, 16, 32, 64]) fvus.push((await encode(gpu, model, rows, k)).fvu);
		return fvus;
	};
	const [nested, plain] = [await curve(msae.model), await curve(topk.model)];
	for (const [i, fvu] of nested.entries()) if (i > 0) expect(fvu).toBeLessThan(nested[i - 1]!);
	expect(nested.at(-1)).toBeLessThan(0.15);
	expect(plain.at(-1)).toBeGreaterThan(2 * nested.at(-1)!);
	const encoded = await encode(gpu, msae.model, rows);
	expect(encoded.l0).toBeCloseTo(4, 1);
	expect(await encode(gpu, await reloaded(msae.model), rows)).toEqual(encoded);
});
