/** Arrays that are too large for one binding are cut; that changes nothing but the last bits. */
import { afterAll, beforeAll, describe, expect, test } from "bun:test";
import { openGpu } from "../../../core/gpu/device.ts";
import { Gpu } from "../../../kernels/gpu.ts";
import { planLayout } from "../../../kernels/layout.ts";
import { expectAgreement, topkCase } from "./agreement.ts";
import { families } from "./specs.ts";

let gpu: Gpu;
beforeAll(async () => {
	gpu = await openGpu();
});
afterAll(() => gpu.close());

/** The same device, as one that binds less at a time. */
function withLimit(maxBinding: number): Gpu {
	return new Gpu({ device: gpu.device, info: gpu.info, keepAlive: [] }, maxBinding);
}

test("weights in four shards", async () => {
	const given = {
		d_in: 130,
		d_sae: 500,
		rows: 37,
		k: 9,
		auxk: 12,
		settings: { clip: 0.3, dead_after: 74 },
	};
	const limit = 270_000;
	expect(planLayout(given, limit)).toMatchObject({ shards: { length: 4 }, chunkRows: 128 });
	await expectAgreement(withLimit(limit), topkCase(given));
});

test("rows in chunks, the last of them short", async () => {
	const given = {
		d_in: 17,
		d_sae: 700,
		rows: 300,
		k: 5,
		auxk: 6,
		settings: { dead_after: 300 },
	};
	const limit = 128 * 768 * 4;
	expect(planLayout(given, limit)).toMatchObject({ shards: { length: 1 }, chunkRows: 128 });
	await expectAgreement(withLimit(limit), topkCase(given));
});

describe("other selections, in chunks and shards", () => {
	const sizes = { d_in: 18, d_out: 18, d_sae: 700 };
	const limit = 128 * 768 * 4;
	test.each(["batch_topk", "relu_l1"])("%s", async (name) => {
		await expectAgreement(withLimit(limit), {
			...families(sizes)[name]!,
			rows: 150,
			settings: { dead_after: 150, clip: 0.5 },
			// Few enough codes for what this device binds.
			change: ({ parameters }) => parameters.b_enc.fill(-1.5),
		});
	});
});

test("a batch's selection in micro-batches that take several chunks each", async () => {
	const given = {
		...families({ d_in: 18, d_out: 18, d_sae: 700 }).batch_topk!,
		rows: 278,
		microRows: 139,
		steps: 2,
	};
	const limit = 128 * 768 * 4;
	expect(planLayout({ d_in: 18, d_sae: 700, rows: given.microRows }, limit)).toMatchObject({
		chunkRows: 128,
	});
	await expectAgreement(withLimit(limit), given);
});

test("a matrix that no shard holds a tile of is refused", () => {
	expect(() => withLimit(128 * 32 * 8 - 1).buffer("big", 2 ** 20)).toThrow("this device allows 0 MiB");
	expect(() => planLayout({ d_in: 17, d_sae: 100, rows: 1 }, 128 * 32 * 8 - 1)).toThrow("d_in 17");
});
