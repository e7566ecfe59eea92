/**
 * Times the whole TopK training step, with data on the device's doorstep, and each of its kernels.
 *
 *   bun bench/step.ts [--d-in 768] [--d-sae 32768] [--k 32] [--batch 4096,8192] [--steps 30] [--kernels] [--json]
 */
import { parseArgs } from "node:util";
import { core } from "../core/api.ts";
import { openGpu } from "../core/gpu/device.ts";
import type { ArchitectureContribution } from "../core/plugin.ts";
import { CounterRng } from "../core/random.ts";
import { initialise } from "../core/train/initialise.ts";
import { TrainStep } from "../core/train/step.ts";
import topk from "../plugins/topk.ts";

const { values } = parseArgs({
	options: {
		"d-in": { type: "string", default: "768" },
		"d-sae": { type: "string", default: "32768" },
		k: { type: "string", default: "32" },
		batch: { type: "string", default: "4096,8192" },
		steps: { type: "string", default: "30" },
		kernels: { type: "boolean", default: false },
		json: { type: "boolean", default: false },
	},
});
const list = (text: string) => text.split(",").map(Number);
const architecture = topk
	.contributes(core)
	.find((c): c is ArchitectureContribution => c.kind === "architecture")!;
const quiet = { info() {}, progress() {}, debug() {}, warn: (message: string) => console.error(message) };
const gpu = await openGpu(quiet);
const device = `${gpu.info.provider}: ${gpu.info.description || gpu.info.device}`;
if (!values.json) console.log(device);

/** Rows with structure, so that selections spread over the latents as they do in use. */
function sampleRows(rows: number, width: number): Float32Array {
	const rng = new CounterRng(1);
	const data = new Float32Array(rows * width);
	for (let i = 0; i < data.length; i++) data[i] = (rng.u32(i) / 2 ** 31 - 1) * 1.7;
	return data;
}

for (const d_in of list(values["d-in"])) {
	for (const d_sae of list(values["d-sae"])) {
		for (const k of list(values.k)) {
			for (const batch of list(values.batch)) await time({ d_in, d_sae, k, batch });
		}
	}
}
gpu.close();
process.exit(0);

async function time(size: { d_in: number; d_sae: number; k: number; batch: number }): Promise<void> {
	const { d_in, d_sae, k, batch } = size;
	const spec = architecture.training(architecture.options.parse({ k }), { d_in, d_out: d_in, d_sae });
	const step = await TrainStep.create(gpu, spec, {
		d_in,
		d_sae,
		rows: batch,
		format: "float32",
		clip: false,
	});
	const rows = sampleRows(batch, d_in);
	const sample = rows.subarray(0, 64 * d_in);
	const sizes = { d_in, d_out: d_in, d_sae };
	step.restore(initialise(spec, sizes, { inputs: sample, targets: sample }, 0), 1e9);
	const settings = (update: number) => ({
		lr: 2e-4 / Math.sqrt(d_sae / 2 ** 14),
		beta1: 0.9,
		beta2: 0.999,
		epsilon: 1e-8,
		update,
		clip: 0,
		dead_after: 1e9,
		input_scale: 1 / Math.sqrt(d_in),
		progress: 0,
	});
	step.run({ inputs: rows }, settings(1), false);
	await step.report();
	const steps = Number(values.steps);
	// A device that idled takes a while to come up to speed.
	const warm = performance.now() + 1000;
	do {
		for (let i = 0; i < 20; i++) step.repeat();
		await step.report();
	} while (performance.now() < warm);
	const start = performance.now();
	for (let i = 0; i < steps; i++) step.repeat();
	const report = await step.report();
	const milliseconds = (performance.now() - start) / steps;
	const rate = (batch / milliseconds) * 1000;
	if (values.json) {
		console.log(
			JSON.stringify({
				name: `saeflow f32 (${device})`,
				ms: milliseconds,
				rows_per_second: rate,
				loss: report.loss,
			}),
		);
	} else {
		const teraflops = (2 * batch * d_in * d_sae) / milliseconds / 1e9;
		console.log(
			`d_in ${d_in} d_sae ${d_sae} k ${k} batch ${batch}: ${milliseconds.toFixed(3)} ms/step, ` +
				`${(rate / 1e6).toFixed(4)} M rows/s, the encoder product alone ${teraflops.toFixed(2)} TFLOP/s`,
		);
	}
	if (values.kernels) await perKernel(step);
	step.close();
}

async function perKernel(step: TrainStep): Promise<void> {
	const RUNS = 5;
	await step.profile();
	const sums = new Map<string, number>();
	for (let run = 0; run < RUNS; run++) {
		for (const { label, nanoseconds } of await step.profile()) {
			sums.set(label, (sums.get(label) ?? 0) + nanoseconds / RUNS / 1e6);
		}
	}
	for (const [label, milliseconds] of sums)
		console.log(`  ${label.padEnd(24)} ${milliseconds.toFixed(3)} ms`);
	const total = [...sums.values()].reduce((sum, value) => sum + value, 0);
	console.log(`  ${"sum".padEnd(24)} ${total.toFixed(3)} ms`);
}
