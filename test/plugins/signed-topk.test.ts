import { afterAll, beforeAll, expect, test } from "bun:test";
import { type Gpu, openGpu } from "../../core/gpu/device.ts";
import { rowStream } from "../../core/row-stream.ts";
import { encode, freshRows, learn, recover, reloaded } from "./recovering.ts";

let gpu: Gpu;
beforeAll(async () => {
	gpu = await openGpu();
});
afterAll(() => gpu.close());

test("signed TopK finds the features up to their sign, and is the same after saving", async () => {
	const { model, last, found } = await recover(gpu, "signed-topk", { k: 4 }, { steps: 500 });
	expect(model).toMatchObject({ architecture: "signed-topk", settings: { k: 4 } });
	expect(found.mcc).toBeGreaterThan(0.8);
	expect(last).toMatchObject({ l0: 4 });
	const rows = await freshRows(200);
	const encoded = await encode(gpu, model, rows);
	expect(encoded.l0).toBe(4);
	expect(encoded.codes.value.some((value) => value < 0)).toBe(true);
	expect(encoded.fvu).toBeLessThan(0.3);
	expect(await encode(gpu, await reloaded(model), rows)).toEqual(encoded);
	expect((await encode(gpu, model, rows, 7)).l0).toBe(7);
});

test("one latent stands for a direction and its opposite, for which TopK takes two", async () => {
	const d_in = 16;
	/** 12 axes, two of which are on in each row, one way or the other. */
	const axes = (count: number) => {
		const rows = new Float32Array(count * d_in);
		for (let row = 0; row < count; row++) {
			for (const draw of [0, 1]) {
				const hash = Math.imul(row * 2 + draw + 1, 0x9e3779b1) >>> 0;
				rows[row * d_in + ((hash >>> 8) % 12)] = (hash >>> 24) % 2 === 0 ? 1 : -1;
			}
		}
		return rows;
	};
	const run = { steps: 250, d_sae: 12, batch: 128 };
	const fvu = async (name: string) => {
		const { model } = await learn(gpu, name, { k: 2 }, rowStream([axes(run.steps * run.batch)], d_in), run);
		return (await encode(gpu, model, axes(1000))).fvu;
	};
	expect(await fvu("signed-topk")).toBeLessThan(0.15);
	expect(await fvu("topk")).toBeGreaterThan(0.3);
});
