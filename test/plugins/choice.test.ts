import { afterAll, beforeAll, describe, expect, test } from "bun:test";
import { mkdtemp, rm } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { toyRows, toyStream } from "../../core/conformance/bench.ts";
import { type Gpu, openGpu } from "../../core/gpu/device.ts";
import { type TrainOptions, train } from "../../core/train-saes.ts";
import { describeSpec, encode, freshRows, recover, reloaded } from "./recovering.ts";

let gpu: Gpu;
beforeAll(async () => {
	gpu = await openGpu();
});
afterAll(() => gpu.close());

describe.each(["mutual-choice", "feature-choice"])("%s", (name) => {
	test("finds the features, and keeps about k latents per row by thresholds afterwards", async () => {
		const { model, last, found } = await recover(gpu, name, { k: 4 }, { steps: 500 });
		expect(model).toMatchObject({ architecture: "jumprelu", settings: {} });
		expect(found.mcc).toBeGreaterThan(0.8);
		expect(last.l0).toBeCloseTo(4, 0);
		expect(last.fvu).toBeLessThan(0.25);
		const thresholds = new Set(model.tensors.threshold!.data);
		if (name === "mutual-choice") expect(thresholds.size).toBe(1);
		else expect(thresholds.size).toBeGreaterThan(32);
		const rows = await freshRows(2000);
		const encoded = await encode(gpu, model, rows);
		expect(Math.abs(encoded.l0 - 4)).toBeLessThan(0.6);
		expect(encoded.fvu).toBeLessThan(0.25);
		expect(await encode(gpu, await reloaded(model), rows)).toEqual(encoded);
		expect((await encode(gpu, model, rows, 2)).l0).toBeCloseTo(2, 1);
	});
});

test("Mutual Choice goes on from a checkpoint to the same bits, with the same latents below their floors", async () => {
	const folder = await mkdtemp(join(tmpdir(), "sae-choice-"));
	const [d_in, batch_size, steps] = [16, 128, 40];
	const rows = toyRows(batch_size * steps, d_in);
	const run = async (further: Partial<TrainOptions> = {}) => {
		const [model] = await train({
			gpu,
			stream: toyStream(rows, d_in),
			// Floors that many latents are below, which would be other ones by how long they have been silent.
			saes: [
				{ architecture: "mutual-choice", d_sae: 64, options: { k: 4, least_use: 0.8, allocate_every: 15 } },
			],
			options: { tokens: batch_size * steps, batch_size, log_every: 5, lr: 0.01 },
			...further,
		});
		return model!;
	};
	const stop = new AbortController();
	const checkpoint = join(folder, "checkpoint.safetensors");
	const early = await run({
		checkpoint,
		signal: stop.signal,
		report: ({ step }) => void (step === 20 && stop.abort()),
	});
	expect(Number(early.metadata.training_tokens)).toBeLessThan(batch_size * steps);
	expect((await run({ checkpoint, resume: true })).tensors).toEqual((await run()).tensors);
	await rm(folder, { recursive: true });
});

describe("what is planned", () => {
	const plan = async (name: string, options: Readonly<Record<string, unknown>>, density: Float32Array) => {
		const { allocation } = await describeSpec(name, options, { d_sae: density.length });
		return allocation!.plan(density);
	};
	const silent = new Float32Array(64);

	test("floors of Mutual Choice are for latents far under a Zipf law, and for none before any fired", async () => {
		expect((await plan("mutual-choice", {}, silent)).floor).toEqual(silent);
		// The law itself, in no order, but for one latent that fires a hundredth as often as it ought to.
		const lawful = Float32Array.from({ length: 64 }, (_, i) => 0.5 / (((i * 29) % 64) + 1));
		const density = lawful.with(11, lawful[11]! / 100);
		const { floor } = await plan("mutual-choice", { least_use: 0.3 }, density);
		const under = [...density.keys()].filter((i) => density[i]! < floor![i]!);
		expect(under).toEqual([11]);
	});

	test("quotas of Feature Choice come to k, the same for all or falling with density", async () => {
		const density = Float32Array.from({ length: 64 }, (_, i) => ((i * 29) % 64) / 640);
		const sum = (values: Float32Array) => values.reduce((a, b) => a + b, 0);
		const uniform = await plan("feature-choice", { k: 4 }, density);
		expect(uniform.quota).toEqual(new Float32Array(64).fill(4 / 64));
		expect(sum(uniform.floor!)).toBeCloseTo(0.4, 5);
		const zipf = await plan("feature-choice", { k: 4, quota: "zipf", zipf_exponent: 0.7 }, density);
		expect(sum(zipf.quota!)).toBeCloseTo(4, 5);
		const byDensity = [...density.keys()].sort((a, b) => density[b]! - density[a]!);
		for (const [rank, latent] of byDensity.entries()) {
			const before = byDensity[rank - 1];
			if (before !== undefined) expect(zipf.quota![latent]!).toBeLessThan(zipf.quota![before]!);
		}
		const first = await plan("feature-choice", { k: 4, quota: "zipf" }, silent);
		expect(first.quota![0]).toBeGreaterThan(first.quota![63]!);
	});

	test("more codes than latents are refused", async () => {
		await expect(describeSpec("feature-choice", { k: 65 })).rejects.toThrow(
			"--k 65: there are only 64 latents",
		);
	});
});
