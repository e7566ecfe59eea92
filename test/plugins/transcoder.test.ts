import { afterAll, beforeAll, expect, test } from "bun:test";
import { type Gpu, openGpu } from "../../core/gpu/device.ts";
import type { SaeModel } from "../../core/sae.ts";
import { nameInFile } from "../../plugins/saelens/layout.ts";
import { encode, freshRows, recover, reloaded } from "./recovering.ts";

let gpu: Gpu;
beforeAll(async () => {
	gpu = await openGpu();
});
afterAll(() => gpu.close());

// To targets of their own, trainer-columns.test.ts trains one.
test.each<[string, Readonly<Record<string, unknown>>, string]>([
	["TopK", {}, "topk_transcoder"],
	["BatchTopK, which SAELens can hold", { select: "batchtopk" }, "jumprelu_transcoder"],
])("a transcoder with %s", async (_, options, saved) => {
	const { model, last, found } = await recover(gpu, "transcoder", { k: 4, ...options }, { steps: 500 });
	expect(model).toMatchObject({ architecture: "transcoder", apply_b_dec_to_input: false });
	expect(nameInFile(model)).toBe(saved);
	expect(last.l0).toBeCloseTo(4, 0);
	expect(last.fvu).toBeLessThan(0.3);
	expect(found.mcc).toBeGreaterThan(0.8);
	const rows = await freshRows(500);
	const encoded = await encode(gpu, model, rows);
	expect(Math.abs(encoded.l0 - 4)).toBeLessThan(0.6);
	expect(await encode(gpu, await reloaded(model), rows)).toEqual(encoded);
});

test("SAELens' own transcoders keep whatever is positive", async () => {
	const tensor = (shape: number[], value: (i: number) => number) => ({
		shape,
		data: Float32Array.from({ length: shape.reduce((a, b) => a * b) }, (_, i) => value(i)),
	});
	const model: SaeModel = {
		architecture: "transcoder",
		d_in: 2,
		d_sae: 3,
		apply_b_dec_to_input: false,
		normalize_activations: "none",
		settings: {},
		metadata: {},
		tensors: {
			// The latents are x, y and −x.
			W_enc: tensor([2, 3], (i) => [1, 0, -1, 0, 1, 0][i]!),
			b_enc: tensor([3], () => 0),
			W_dec: tensor([3, 2], (i) => i),
			b_dec: tensor([2], () => 10),
		},
	};
	const { codes, decoded } = await encode(gpu, model, Float32Array.of(1, 2, -1, -2));
	expect(codes.offsets).toEqual(Uint32Array.of(0, 2, 3));
	expect([...codes.index]).toEqual([0, 1, 2]);
	expect([...decoded]).toEqual([0 + 4 + 10, 1 + 6 + 10, 4 + 10, 5 + 10]);
});
