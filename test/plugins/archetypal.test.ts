/** Archetypal SAEs: what they find, that they are saved as topk ones, and what they refuse. */
import { afterAll, beforeAll, expect, test } from "bun:test";
import { core } from "../../core/api.ts";
import { type Gpu, openGpu } from "../../core/gpu/device.ts";
import type { ArchitectureContribution } from "../../core/plugin.ts";
import { rowStream } from "../../core/row-stream.ts";
import { train } from "../../core/train-saes.ts";
import archetypal from "../../plugins/archetypal.ts";
import { encode, freshRows, recover, reloaded } from "./recovering.ts";

let gpu: Gpu;
beforeAll(async () => {
	gpu = await openGpu();
});
afterAll(() => gpu.close());

const [architecture] = archetypal.contributes(core) as [ArchitectureContribution];
const describeWith = (options: object) =>
	architecture.training(architecture.options.parse(options), { d_in: 32, d_out: 32, d_sae: 64 });

test("finds the features of toy rows, and is saved as a topk SAE with rows of any norm", async () => {
	const { model, last, found } = await recover(gpu, "archetypal", { k: 4 }, { steps: 500 });
	// 0.93 and 0.2 where this was written; random directions reach 0.4.
	expect(found.mcc).toBeGreaterThan(0.8);
	expect(last.fvu).toBeLessThan(0.3);
	expect(last.l0).toBeCloseTo(4, 1);
	expect(model).toMatchObject({ architecture: "topk", settings: { k: 4 } });
	expect(Object.keys(model.tensors).toSorted()).toEqual(["W_dec", "W_enc", "b_dec", "b_enc"]);
	expect(core.hasUnitDecoder(model)).toBe(false);
	const rows = await freshRows(300);
	const encoded = await encode(gpu, model, rows);
	expect(encoded.fvu).toBeLessThan(0.3);
	expect(await encode(gpu, await reloaded(model), rows)).toEqual(encoded);
});

test("rows that share a candidate begin apart, which needs a delta", () => {
	const relaxation = (options: object) =>
		describeWith(options).parameters.find(({ name }) => name === "relaxation")!.init;
	expect(relaxation({})).toEqual({ kind: "constant" });
	expect(relaxation({ candidates: 32, delta: 2 })).toEqual({ kind: "random_rows", norm: 0.2 });
	expect(() => describeWith({ candidates: 32, delta: 0 })).toThrow(
		"--delta 0 there must be at least as many",
	);
});

test("what can't be is refused: too few rows for the candidates, and new starts", async () => {
	const rows = Float32Array.from({ length: 64 * 8 }, (_, i) => Math.sin(i * i));
	const run = (architecture: object, options: object) =>
		train({
			gpu,
			stream: rowStream([rows], 8),
			saes: [{ architecture: "archetypal", d_sae: 16, options: { k: 2, ...architecture } }],
			options: { batch_size: 32, tokens: 64, ...options },
		});
	await expect(run({ candidates: 65 }, {})).rejects.toThrow("65 k-means centres need at least as many rows");
	await expect(run({}, { resample_every: 1 })).rejects.toThrow("is made of others");
});
