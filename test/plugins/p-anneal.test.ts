import { afterAll, beforeAll, expect, test } from "bun:test";
import { type Gpu, openGpu } from "../../core/gpu/device.ts";
import { scheduled } from "../../core/schedule.ts";
import { describeSpec, encode, freshRows, recover, reloaded } from "./recovering.ts";
import { shrinkage } from "./shrinkage.ts";

let gpu: Gpu;
beforeAll(async () => {
	gpu = await openGpu();
});
afterAll(() => gpu.close());

// Over three seeds: MCC 0.92 to 0.95, l0 4.7 to 4.9, shrinkage 0.96 to 0.98; L1 with the same weight has 0.82.
test("p-annealing finds the features and shrinks codes less than L1; the SAE is SAELens' standard", async () => {
	const { model, found } = await recover(gpu, "p-anneal", { l1: 0.2 }, { steps: 400, lr: 0.02 });
	expect(model).toMatchObject({ architecture: "standard", settings: {} });
	expect(found.mcc).toBeGreaterThan(0.85);
	const rows = await freshRows(500);
	const encoded = await encode(gpu, model, rows);
	expect(encoded.l0).toBeLessThan(8);
	expect(shrinkage(rows, encoded.decoded)).toBeGreaterThan(0.92);
	expect(await encode(gpu, await reloaded(model), rows)).toEqual(encoded);
});

test("p falls from 1 to its end in stages", async () => {
	const { scalars } = await describeSpec("p-anneal", { p_end: 0.5, p_begin: 0.1, p_until: 0.6, p_stages: 2 });
	const p = [0, 0.1, 0.34, 0.36, 0.59, 0.61, 1].map((progress) => scheduled(scalars!.p!, progress));
	expect(p).toEqual([1, 1, 1, 0.75, 0.75, 0.5, 0.5]);
});

test("p can't have its last value before it begins to fall", async () => {
	await expect(describeSpec("p-anneal", { p_begin: 0.5, p_until: 0.4 })).rejects.toThrow(
		"--p-begin 0.5: comes after --p-until, which is 0.4",
	);
});
