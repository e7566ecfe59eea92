import { afterAll, beforeAll, expect, test } from "bun:test";
import { type Gpu, openGpu } from "../../core/gpu/device.ts";
import { describeSpec, encode, freshRows, recover, reloaded } from "./recovering.ts";

let gpu: Gpu;
beforeAll(async () => {
	gpu = await openGpu();
});
afterAll(() => gpu.close());

test("GroupMax finds the features, one latent of each group at a time, and is the same after saving", async () => {
	const { model, last, found } = await recover(gpu, "groupmax", { k: 8 }, { steps: 500 });
	expect(model).toMatchObject({ architecture: "groupmax", settings: { k: 8 } });
	// A random dictionary has 0.45.
	expect(found.mcc).toBeGreaterThan(0.7);
	expect(last.fvu).toBeLessThan(0.35);
	const rows = await freshRows(200);
	const encoded = await encode(gpu, model, rows);
	for (let row = 0; row < 200; row++) {
		const latents = encoded.codes.index.subarray(encoded.codes.offsets[row], encoded.codes.offsets[row + 1]);
		const groups = [...latents].map((latent) => Math.floor(latent / 8));
		expect(new Set(groups).size).toBe(groups.length);
	}
	expect(await encode(gpu, await reloaded(model), rows)).toEqual(encoded);
	await expect(encode(gpu, model, rows, 4)).rejects.toThrow(
		"--k: a groupmax SAE keeps one latent of each of its 8",
	);
});

test("groups have to be of one size", async () => {
	await expect(describeSpec("groupmax", { k: 12 })).rejects.toThrow(
		"--k 12: does not divide d_sae, which is 64",
	);
});
