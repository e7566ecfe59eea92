import { afterAll, beforeAll, expect, test } from "bun:test";
import { core } from "../../core/api.ts";
import { type Gpu, openGpu } from "../../core/gpu/device.ts";
import type { ArchitectureContribution } from "../../core/plugin.ts";
import batchTopK from "../../plugins/batch-topk.ts";
import { randomTopK } from "../reference/models.ts";
import { encode, freshRows, recover, reloaded } from "./recovering.ts";
import { shrinkage } from "./shrinkage.ts";

let gpu: Gpu;
beforeAll(async () => {
	gpu = await openGpu();
});
afterAll(() => gpu.close());

// Over three seeds: MCC 0.83 to 0.86, l0 3.95 to 4.14, shrinkage 0.99 to 1.01; longer runs pass 0.95.
test("BatchTopK finds the features; its threshold keeps k per row, and the SAE is SAELens' jumprelu", async () => {
	const { model, last, found } = await recover(gpu, "batchtopk", { k: 4 }, { steps: 400, lr: 0.03 });
	expect(model).toMatchObject({ architecture: "jumprelu", apply_b_dec_to_input: true, settings: {} });
	const threshold = new Set(model.tensors.threshold!.data);
	expect(threshold.size).toBe(1);
	expect([...threshold][0]).toBeGreaterThan(0);
	expect(last.l0).toBe(4);
	expect(found.mcc).toBeGreaterThan(0.75);
	const rows = await freshRows(500);
	const encoded = await encode(gpu, model, rows);
	expect(Math.abs(encoded.l0 - 4)).toBeLessThan(0.5);
	expect(Math.abs(shrinkage(rows, encoded.decoded) - 1)).toBeLessThan(0.04);
	const { offsets } = encoded.codes;
	const counts = new Set(Array.from({ length: 500 }, (_, row) => offsets[row + 1]! - offsets[row]!));
	expect(counts.size).toBeGreaterThan(3);
	expect(await encode(gpu, await reloaded(model), rows)).toEqual(encoded);
});

test("without a threshold it can't be saved", () => {
	const [architecture] = batchTopK.contributes(core) as [ArchitectureContribution];
	const untrained = { ...randomTopK(4, 6, 1), architecture: "batchtopk" };
	const threshold = { shape: [1], data: new Float32Array(1) };
	expect(() => architecture.finish!({ ...untrained, tensors: { ...untrained.tensors, threshold } })).toThrow(
		"this batchtopk SAE has no threshold yet",
	);
});
