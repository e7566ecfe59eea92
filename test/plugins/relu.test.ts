import { afterAll, beforeAll, expect, test } from "bun:test";
import { type Gpu, openGpu } from "../../core/gpu/device.ts";
import { describeSpec, encode, freshRows, recover, reloaded } from "./recovering.ts";
import { shrinkage } from "./shrinkage.ts";

let gpu: Gpu;
let rows: Float32Array;
beforeAll(async () => {
	gpu = await openGpu();
	rows = await freshRows(500);
});
afterAll(() => gpu.close());

const RUN = { steps: 400, lr: 0.02 };

// Over three seeds: MCC 0.970 to 0.996, l0 6.6 to 6.8, shrinkage 0.82 to 0.84; a random dictionary has an MCC of 0.45.
test("L1 times free decoder norms finds the features and shrinks codes; the SAE is SAELens' standard", async () => {
	const { model, found } = await recover(gpu, "relu", { l1: 0.2 }, RUN);
	expect(model).toMatchObject({ architecture: "standard", apply_b_dec_to_input: false, settings: {} });
	expect(Object.keys(model.tensors).toSorted()).toEqual(["W_dec", "W_enc", "b_dec", "b_enc"]);
	const { data } = model.tensors.W_dec!;
	for (let at = 0; at < data.length; at += 32)
		expect(Math.hypot(...data.subarray(at, at + 32))).toBeCloseTo(1, 5);
	expect(found.mcc).toBeGreaterThan(0.9);
	const encoded = await encode(gpu, model, rows);
	expect(encoded.l0).toBeGreaterThan(5);
	expect(encoded.l0).toBeLessThan(9);
	expect(shrinkage(rows, encoded.decoded)).toBeLessThan(0.92);
	expect(await encode(gpu, await reloaded(model), rows)).toEqual(encoded);
});

// Over three seeds: MCC 0.959 to 0.979, l0 7.0.
test("L1 with unit decoder rows does, too, and a smaller weight leaves more codes, shrunk less", async () => {
	const { model, found } = await recover(gpu, "standard", { penalty: "l1", l1: 0.2 }, RUN);
	expect(model).toMatchObject({ architecture: "standard", apply_b_dec_to_input: true });
	expect(found.mcc).toBeGreaterThan(0.9);
	const strong = await encode(gpu, model, rows);
	const weak = await encode(
		gpu,
		(await recover(gpu, "relu", { penalty: "l1", l1: 0.05 }, { ...RUN, steps: 150 })).model,
		rows,
	);
	expect(weak.l0).toBeGreaterThan(1.5 * strong.l0);
	expect(shrinkage(rows, weak.decoded)).toBeGreaterThan(shrinkage(rows, strong.decoded) + 0.03);
});

test("the penalty's weight rises from 0 unless told otherwise, and the trainer may steer it", async () => {
	expect(await describeSpec("relu", {})).toMatchObject({
		scalars: { l1: { from: 0, to: 0.1, until: 0.05 } },
		sparsity: "l1",
	});
	expect(await describeSpec("relu", { sparsity_warmup: 0 })).toMatchObject({ scalars: { l1: 0.1 } });
});
