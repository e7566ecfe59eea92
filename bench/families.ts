/**
 * Times a training step of each architecture beside TopK's, at the same L0 and the same encoder work.
 *
 *   bun bench/families.ts [--d-in 768] [--d-sae 32768] [--k 32] [--batch 4096] [--steps 20] [--only topk,gated] [--kernels]
 *
 * Architectures that do not choose how many latents they keep get encoder biases that let k of them fire. Transcoders
 * reconstruct other rows of d_in values; a crosscoder has two sources of d_in / 2 values each, in and out.
 */
import { parseArgs } from "node:util";
import { builtIn } from "../core/built-in.ts";
import { openGpu } from "../core/gpu/device.ts";
import { CounterRng } from "../core/random.ts";
import { initialise } from "../core/train/initialise.ts";
import { type StepSettings, TrainStep } from "../core/train/step.ts";
import { GpuError } from "../kernels/gpu.ts";

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
const normalRows = (first: number) =>
	Float32Array.from({ length: batch * d_in }, (_, i) => rng.normal(first + i) / Math.sqrt(d_in));
const rows = normalRows(0);
const others = normalRows(rows.length);
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

/** A row of the table. */
interface Case {
	readonly architecture: string;
	/** As words would say it. */
	readonly variant?: string;
	readonly options?: Readonly<Record<string, unknown>>;
	/** Whether it reconstructs other rows than it sees. */
	readonly others?: boolean;
	/** Whether each column has a scale of its own, as where several sources lie side by side. */
	readonly scaled?: boolean;
}

/** What is not simply an architecture with its defaults. */
const CASES: readonly Case[] = [
	// Candidates are centres of rows, of which a small batch has too few for the default.
	{ architecture: "archetypal", options: { candidates: Math.min(d_sae, 2048, batch) } },
	{ architecture: "jumprelu", variant: "--recipe anthropic", options: { recipe: "anthropic" } },
	{ architecture: "transcoder", others: true },
	{ architecture: "transcoder", variant: "--skip", options: { skip: true }, others: true },
	{ architecture: "crosscoder", scaled: true },
	{
		architecture: "crosscoder",
		variant: "--select batchtopk",
		options: { select: "batchtopk" },
		scaled: true,
	},
];

let topk: number | undefined;
for (const architecture of ["topk", ...names.filter((name) => name !== "topk")]) {
	const own = CASES.filter((one) => one.architecture === architecture);
	if (own.every(({ variant }) => variant !== undefined)) own.unshift({ architecture });
	for (const one of own) {
		await time(one).catch((error: unknown) => {
			if (!(error instanceof GpuError)) throw error;
			console.log(`${nameOf(one)} can't: ${error.message}`);
		});
	}
}
gpu.close();
process.exit(0);

function nameOf({ architecture, variant }: Case): string {
	return [architecture, variant].filter(Boolean).join(" ").padEnd(30);
}

async function time(one: Case): Promise<void> {
	const { architecture: name, ...how } = one;
	const architecture = (await registry.find("architecture", name))!;
	const given = "k" in (architecture.options as unknown as { shape: object }).shape ? { k } : {};
	// Pairs of keys need a square.
	const latents = name === "product-keys" ? Math.round(Math.sqrt(d_sae)) ** 2 : d_sae;
	const sizes = { d_in, d_out: d_in, d_sae: latents };
	const spec = architecture.training(architecture.options.parse({ ...given, ...how.options }), sizes);
	const step = await TrainStep.create(gpu, spec, {
		d_in,
		d_out: how.others ? d_in : undefined,
		d_sae: latents,
		rows: batch,
		format: "float32",
		clip: false,
		columnScales: how.scaled ? new Float32Array(d_in).fill(1) : undefined,
	});
	const sampleOf = (all: Float32Array) => all.subarray(0, Math.min(batch, 4096) * d_in);
	const sample = { inputs: sampleOf(rows), targets: sampleOf(how.others ? others : rows) };
	const first = initialise(spec, sizes, sample, 0);
	if (spec.loss[0].select.kind === "all") letFire(first, k / latents);
	step.restore(first, settings.dead_after);
	if (spec.allocation) step.allocate(spec.allocation.plan(new Float32Array(latents)));
	step.run({ inputs: rows, targets: how.others ? others : undefined }, settings, false);
	await step.report();
	// A device that idled takes a while to come up to speed.
	for (let i = 0; i < 20; i++) step.repeat();
	await step.report();
	const start = performance.now();
	for (let i = 0; i < steps; i++) step.repeat();
	const { l0 } = await step.report();
	const milliseconds = (performance.now() - start) / steps;
	topk ??= milliseconds;
	console.log(
		`${nameOf(one)} ${milliseconds.toFixed(3)} ms/step, ${(milliseconds / topk).toFixed(2)} × topk, l0 ${l0.toFixed(1)}`,
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
	const quantile = normalQuantile(1 - rate);
	for (let latent = 0; latent < b_enc!.length; latent++) {
		const norm = Math.hypot(...W_enc!.subarray(latent * d_in, (latent + 1) * d_in));
		const threshold = log_threshold ? Math.exp(log_threshold[latent]!) : 0;
		b_enc![latent] = threshold - (norm / Math.sqrt(d_in)) * quantile;
	}
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
