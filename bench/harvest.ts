/**
 * Activations of a language model per second, ours beside transformers with hooks, in one run on one device.
 *
 *   bun bench/harvest.ts [--model FOLDER] [--layer 6] [--context 1024] [--batch 8192] [--tokens 1048576] [--kernels] [--alone]
 *
 * Without --model, a model of GPT-2 small's sizes with random weights in bfloat16. Everyone runs the same token ids as far
 * as the residual stream after that layer, and brings the rows to the host. transformers needs python3 with torch and
 * CUDA; without them only ours is printed, and why; --alone leaves it out. The root mean square of the first rows shows that
 * all compute the same. --kernels says where the time of ours goes, by the device's clock.
 */
import { mkdtemp, rm } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { parseArgs } from "node:util";
import { type Gpu, openGpu } from "../core/gpu/device.ts";
import { readModelSpec, type TokenBatch } from "../core/model/index.ts";
import { openTransformer } from "../core/model/open.ts";
import type { Transformer } from "../core/model/transformer.ts";
import { randomWeights, writeModel } from "../test/reference/random-model.ts";

const { values } = parseArgs({
	options: {
		model: { type: "string" },
		layer: { type: "string", default: "6" },
		context: { type: "string", default: "1024" },
		batch: { type: "string", default: "8192" },
		tokens: { type: "string", default: "1048576" },
		kernels: { type: "boolean", default: false },
		alone: { type: "boolean", default: false },
	},
});

interface Row {
	readonly name: string;
	readonly tokens_per_second: number;
	readonly rms: number;
}

const GPT2_SMALL = {
	model_type: "gpt2",
	architectures: ["GPT2LMHeadModel"],
	vocab_size: 50257,
	n_positions: 1024,
	n_embd: 768,
	n_layer: 12,
	n_head: 12,
};

const folder = await mkdtemp(join(tmpdir(), "sae-harvest-"));
try {
	const model =
		values.model ?? (await writeModel(folder, GPT2_SMALL, randomWeights(GPT2_SMALL, "bf16"), "bf16"));
	const [layer, context, batch, tokens] = [values.layer, values.context, values.batch, values.tokens].map(
		Number,
	) as [number, number, number, number];
	const gpu = await openGpu();
	const size = { layer, context, batch, tokens };
	const ours = [await harvest(gpu, model, size, "float32")];
	if (gpu.halfProduct) ours.push(await harvest(gpu, model, size, "half"));
	gpu.close();
	const shape = [
		"--layer",
		values.layer,
		"--context",
		values.context,
		"--batch",
		values.batch,
		"--tokens",
		values.tokens,
	];
	const rows = [...ours, ...(values.alone ? [] : await theirs(["--model", model, ...shape]))];
	console.log(
		`${values.model ?? "GPT-2 small's sizes"}, residual stream after layer ${layer}, contexts of ${context}:\n`,
	);
	console.log(
		`| | tokens/s | ${ours.map(({ name }) => `${name} is faster by`).join(" | ")} | rms |\n|---|---|${ours.map(() => "---|").join("")}---|`,
	);
	for (const { name, tokens_per_second: rate, rms } of rows) {
		const ratios = ours.map((own) =>
			own.name === name ? "" : `${(own.tokens_per_second / rate).toFixed(2)} ×`,
		);
		console.log(`| ${[name, Math.round(rate), ...ratios, rms.toFixed(5)].join(" | ")} |`);
	}
} finally {
	await rm(folder, { recursive: true });
}

interface Job {
	readonly layer: number;
	readonly context: number;
	readonly batch: number;
	readonly tokens: number;
}

async function harvest(
	gpu: Gpu,
	folder: string,
	{ layer, context, batch, tokens }: Job,
	precision: "float32" | "half",
): Promise<Row> {
	const { vocab } = await readModelSpec(folder);
	const sizes = { rows: batch, context, layers: layer + 1, head: false };
	const model = await openTransformer(folder, { gpu, precision, ...sizes });
	const sequences = Array.from({ length: Math.floor(batch / context) }, () => ({ length: context }));
	const rows = sequences.length * context;
	// The same in harvest.py.
	const ids = (pass: number) =>
		Uint32Array.from({ length: rows }, (_, i) => ((pass * rows + i) * 7919 + 13) % vocab);
	const hook = `blocks.${layer}.hook_resid_post`;
	/** What was read, while the next pass is computed already. */
	let waiting: Promise<Float32Array> | undefined;
	const run = async (pass: number) => {
		const before = waiting;
		await model.run(
			{ tokens: ids(pass), sequences },
			new Map([
				[
					hook,
					(value) => {
						waiting = model.read(value);
					},
				],
			]),
		);
		await before;
	};
	for (let pass = 0; pass < 3; pass++) await run(pass);
	waiting = undefined;
	await run(0);
	const first = (await waiting!) as Float32Array;
	const rms = Math.sqrt(first.reduce((sum, value) => sum + value * value, 0) / first.length);
	waiting = undefined;
	const passes = Math.max(1, Math.floor(tokens / rows));
	const begin = performance.now();
	for (let pass = 0; pass < passes; pass++) await run(pass);
	await waiting;
	const seconds = (performance.now() - begin) / 1000;
	if (values.kernels) {
		await printKernels(model, { tokens: ids(0), sequences }, hook);
		console.log(`${((1000 * seconds) / passes).toFixed(3)} ms a pass\n`);
	}
	model.close();
	const tensors = gpu.halfProduct ? " by tensor cores" : "";
	const name = precision === "half" ? "saeflow, half" : `saeflow, f32${tensors}`;
	return { name, tokens_per_second: (passes * rows) / seconds, rms };
}

/** Milliseconds by kernel, those of all layers together. */
async function printKernels(model: Transformer, batch: TokenBatch, hook: string): Promise<void> {
	await model.profile(batch, hook);
	const times = new Map<string, { ms: number; runs: number }>();
	for (const { label, nanoseconds } of await model.profile(batch, hook)) {
		const kernel = label.replace(/\d+/, "*");
		const { ms, runs } = times.get(kernel) ?? { ms: 0, runs: 0 };
		times.set(kernel, { ms: ms + nanoseconds / 1e6, runs: runs + 1 });
	}
	console.log("| kernel | runs | ms |\n|---|---|---|");
	for (const [kernel, { ms, runs }] of times) console.log(`| ${kernel} | ${runs} | ${ms.toFixed(3)} |`);
	const total = [...times.values()].reduce((sum, { ms }) => sum + ms, 0);
	console.log(`| sum | | ${total.toFixed(3)} |\n`);
}

/** The rows that harvest.py prints; none where it can't run, which it has said on stderr. */
async function theirs(words: readonly string[]): Promise<Row[]> {
	const command = ["python3", join(import.meta.dir, "harvest.py"), ...words];
	const child = Bun.spawn(command, { stdout: "pipe", stderr: "inherit" });
	const text = await new Response(child.stdout).text();
	return text
		.split("\n")
		.filter((line) => line.startsWith("{"))
		.map((line) => JSON.parse(line) as Row);
}
