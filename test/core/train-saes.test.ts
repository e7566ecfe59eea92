import { afterAll, beforeAll, describe, expect, test } from "bun:test";
import { mkdtemp, rm } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { type Gpu, openGpu } from "../../core/gpu/device.ts";
import { openSae } from "../../core/open-sae.ts";
import { rowStream } from "../../core/row-stream.ts";
import type { TrainMetrics } from "../../core/train/job.ts";
import { type TrainOptions, train } from "../../core/train-saes.ts";
import { randomStream, randomTensor } from "../reference/models.ts";

const D_IN = 12;
const ROWS = 1024;

/** Rows that are each one of 16 directions, times 1 to 2: easy for an SAE with k 1. */
function easyRows(): Float32Array {
	const directions = randomTensor([16, D_IN], randomStream(1)).data;
	const random = randomStream(2);
	const data = new Float32Array(ROWS * D_IN);
	for (let row = 0; row < ROWS; row++) {
		const from = Math.floor(random() * 16) * D_IN;
		const scale = 1 + random();
		for (let i = 0; i < D_IN; i++) data[row * D_IN + i] = scale * directions[from + i]!;
	}
	return data;
}

const rows = easyRows();
function* epochs(count: number): Generator<Float32Array> {
	for (let epoch = 0; epoch < count; epoch++) {
		for (let at = 0; at < rows.length; at += 100 * D_IN) yield rows.slice(at, at + 100 * D_IN);
	}
}

let gpu: Gpu;
let folder: string;
beforeAll(async () => {
	gpu = await openGpu();
	folder = await mkdtemp(join(tmpdir(), "sae-train-"));
});
afterAll(async () => {
	gpu.close();
	await rm(folder, { recursive: true });
});

const request = (): TrainOptions => ({
	stream: rowStream(epochs(8), D_IN),
	saes: [{ architecture: "topk", d_sae: 32, options: { k: 1 } }],
	options: { tokens: 8 * ROWS, batch_size: 128, lr: 0.02, shuffle_buffer: 256, log_every: 8 },
	gpu,
});

const tensorsOf = (saes: Awaited<ReturnType<typeof train>>) => saes.map(({ tensors }) => tensors);

describe("train", () => {
	test("learns what the rows are made of, and returns SAEs that run", async () => {
		const reported: TrainMetrics[] = [];
		const [sae, wider] = await train({
			...request(),
			saes: [
				{ architecture: "topk", d_sae: 32, options: { k: 1 }, name: "one" },
				{ architecture: "topk", d_sae: 40, options: { k: 2 }, name: "two" },
			],
			report: (metrics) => void reported.push(metrics),
		});
		expect(sae).toMatchObject({ architecture: "topk", d_in: D_IN, d_sae: 32, settings: { k: 1 } });
		expect(wider).toMatchObject({ d_sae: 40, settings: { k: 2 } });
		expect(reported.map(({ sae, step }) => `${sae} ${step}`)).toEqual(
			[8, 16, 24, 32, 40, 48, 56, 64].flatMap((step) => [`one ${step}`, `two ${step}`]),
		);
		const runtime = await openSae(sae!, { gpu });
		const back = await runtime.decode(await runtime.encode(rows, ROWS));
		runtime.close();
		const squares = (values: Float32Array) => values.reduce((sum, value) => sum + value ** 2, 0);
		// Eight seeds gave 0.016 to 0.107, and devices round differently; a random dictionary leaves most of it.
		expect(squares(rows.map((value, i) => value - back[i]!)) / squares(rows)).toBeLessThan(0.2);
	});

	test("ends early on a signal, and goes on from there to the same bits", async () => {
		const undisturbed = await train(request());
		const checkpoint = join(folder, "checkpoint.safetensors");
		const controller = new AbortController();
		const steps: number[] = [];
		await train({
			...request(),
			checkpoint,
			signal: controller.signal,
			report({ step }) {
				steps.push(step);
				controller.abort();
			},
		});
		expect(steps.length).toBeLessThan(4);
		const resumed = await train({ ...request(), checkpoint, resume: true });
		expect(tensorsOf(resumed)).toEqual(tensorsOf(undisturbed));
	});

	test.each<[string, Partial<TrainOptions>]>([
		['options of the trainer adam: Unrecognized key: "token"', { options: { token: 1 } }],
		["options of the trainer adam: lr: ", { options: { lr: -1 } }],
		[
			"options of the architecture topk: k: ",
			{ saes: [{ architecture: "topk", d_sae: 8, options: { k: 0 } }] },
		],
		['the architecture "strange"', { saes: [{ architecture: "strange", d_sae: 8 }] }],
		["d_sae of topk must be a whole number", { saes: [{ architecture: "topk", d_sae: 0.5 }] }],
		[
			"two SAEs are called topk",
			{
				saes: [
					{ architecture: "topk", d_sae: 8 },
					{ architecture: "topk", d_sae: 9 },
				],
			},
		],
		["saes is empty", { saes: [] }],
		[
			"the chunk at row 2 has 13 values",
			{ stream: rowStream([new Float32Array(24), new Float32Array(13)], D_IN) },
		],
	])("refuses with: %s", async (message, change) => {
		await expect(train({ ...request(), ...change })).rejects.toThrow(message);
	});
});
