import { afterAll, beforeAll, expect, test } from "bun:test";
import { type Gpu, openGpu } from "../../core/gpu/device.ts";
import { partNorms } from "./features.ts";
import { describeSpec, encode, freshRows, recover, reloaded } from "./recovering.ts";

let gpu: Gpu;
beforeAll(async () => {
	gpu = await openGpu();
});
afterAll(() => gpu.close());

// Of several columns, trainer-columns.test.ts trains one.
test.each<[string, Readonly<Record<string, unknown>>]>([
	["ReLU and an L1 penalty", {}],
	["BatchTopK", { select: "batchtopk", k: 4 }],
])("a crosscoder with %s finds the features, and is the same after saving", async (_, options) => {
	const { model, last, found } = await recover(gpu, "crosscoder", { sources: 4, ...options }, { steps: 500 });
	expect(model).toMatchObject({ architecture: "crosscoder", settings: { sources: 4 } });
	expect(found.mcc).toBeGreaterThan(0.7);
	expect(last.fvu).toBeLessThan(0.3);
	for (const norm of partNorms(model.tensors.W_dec!, 0, 32)) expect(norm).toBeCloseTo(1, 4);
	const rows = await freshRows(300);
	const encoded = await encode(gpu, model, rows);
	expect(encoded.fvu).toBeLessThan(0.35);
	expect(await encode(gpu, await reloaded(model), rows)).toEqual(encoded);
	expect((await encode(gpu, model, rows, 2)).l0).toBeCloseTo(2, 1);
});

test("sources have to share the columns equally", async () => {
	await expect(describeSpec("crosscoder", { sources: 5 })).rejects.toThrow(
		"--sources 5: does not divide the 32",
	);
});
