/**
 * Times a training step of each architecture beside TopK's, at the same L0 and the same encoder work.
 *
 *   bun bench/families.ts [--d-in 768] [--d-sae 32768] [--k 32] [--batch 4096] [--steps 20] [--only topk,gated] [--kernels]
 *
 * Architectures that do not choose how many latents they keep get encoder biases that let k of them fire.
 */
import { parseArgs } from "node:util";
import { builtIn } from "../core/built-in.ts";
import { openGpu } from "../core/gpu/device.ts";
import { CounterRng } from "../core/random.ts";
import { initialise } from "../core/train/initialise.ts";
import { type StepSettings, TrainStep } from "../core/train/step.ts";

const { values } = parseArgs({
	options: {
		"d-in": { type: "string", default: "768" },
		"d-sae": { type: "string", default: "32768" },
		k: { type: "string", default: "32" },
		batch: { type: "string", default: "4096" },
		steps: { type: "string", default: "20" },
		only: { type: "string" },
		kernels: { type: "boolean", default: false },
	},
});
const [d_in, d_sae, k, batch, steps] = (["d-in", "d-sae", "k", "batch", "steps"] as const).map((name) =>
	Number(values[name]),
) as [number, number, number, number, number];

const registry = await builtIn();
const names = values.only?.split(",") ?? registry.names("architecture");
const quiet = { info() {}, progress() {}, debug() {}, warn: (message: string) => console.error(message) };
const gpu = await openGpu(quiet);
console.log(`${gpu.info.provider}: ${gpu.info.description || gpu.info.device}`);
console.log(`d_in ${d_in}, d_sae ${d_sae}, batch ${batch}, k ${k}`);

const rng = new CounterRng(1);
const rows = Float32Array.from({ length: batch * d_in }, (_, i) => rng.normal(i) / Math.sqrt(d_in));
const settings: StepSettings = {
	lr: 0,
	beta1: 0.9,
	beta2: 0.999,
	epsilon: 1e-8,
	update: 1,
	clip: 0,
	dead_after: 0xffffffff,
	input_scale: 1,
	progress: 1,
};

let topk: number | undefined;
for (const name of ["topk", ...names.filter((name) => name !== "topk")]) await time(name);
gpu.close();
process.exit(0);

async function time(name: string): Promise<void> {
	const architecture = (await registry.find("architecture", name))!;
	const given = "k" in (architecture.options as unknown as { shape: object }).shape ? { k } : {};
	// Pairs of keys need a square.
	const latents = name === "product-keys" ? Math.round(Math.sqrt(d_sae)) ** 2 : d_sae;
	const sizes = { d_in, d_out: d_in, d_sae: latents };
	const spec = architecture.training(architecture.options.parse(given), sizes);
	const step = await TrainStep.create(gpu, spec, {
		d_in,
		d_sae: latents,
		rows: batch,
		format: "float32",
		clip: false,
	});
	const sample = rows.subarray(0, Math.min(batch, 4096) * d_in);
	const first = initialise(spec, sizes, { inputs: sample, targets: sample }, 0);
	if (spec.loss[0].select.kind === "all") letFire(first, k / latents);
	step.restore(first, settings.dead_after);
	if (spec.allocation) step.allocate(spec.allocation.plan(new Float32Array(latents)));
	step.run({ inputs: rows }, settings, false);
	await step.report();
	for (let i = 0; i < 5; i++) step.repeat();
	await step.report();
	const start = performance.now();
	for (let i = 0; i < steps; i++) step.repeat();
	const { l0 } = await step.report();
	const milliseconds = (performance.now() - start) / steps;
	topk ??= milliseconds;
	console.log(
		`${name.padEnd(16)} ${milliseconds.toFixed(3)} ms/step, ${(milliseconds / topk).toFixed(2)} × topk, l0 ${l0.toFixed(1)}`,
	);
	if (values.kernels) {
		const sums = new Map<string, number>();
		for (const { label, nanoseconds } of await step.profile()) {
			sums.set(label, (sums.get(label) ?? 0) + nanoseconds / 1e6);
		}
		for (const [label, ms] of sums) if (ms > 0.02) console.log(`    ${label.padEnd(28)} ${ms.toFixed(3)}`);
	}
	step.close();
}

/** Biases under which normal rows of norm 1 give this share of pre-activations over the threshold. */
function letFire(first: Record<string, Float32Array>, rate: number): void {
	const { W_enc, b_enc, b_mag, log_threshold } = first;
	const norm = Math.hypot(...W_enc!.subarray(0, d_in));
	const threshold = log_threshold ? Math.exp(log_threshold[0]!) : 0;
	b_enc!.fill(threshold - (norm / Math.sqrt(d_in)) * normalQuantile(1 - rate));
	b_mag?.set(b_enc!);
}

/** The number that a standard normal falls short of with probability p over a half, by bisection. */
function normalQuantile(p: number): number {
	let [low, high] = [0, 10];
	for (let i = 0; i < 60; i++) {
		const middle = (low + high) / 2;
		if (1 - tail(middle) < p) low = middle;
		else high = middle;
	}
	return low;
}

/** P(N > x), by integrating the density. */
function tail(x: number): number {
	const STEPS = 2000;
	const width = (12 - x) / STEPS;
	let sum = 0;
	for (let i = 0; i < STEPS; i++) sum += Math.exp(-((x + (i + 0.5) * width) ** 2) / 2);
	return (sum * width) / Math.sqrt(2 * Math.PI);
}
