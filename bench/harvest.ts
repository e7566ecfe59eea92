/**
 * Activations of a language model per second, ours beside transformers with hooks, in one run on one device.
 *
 *   bun bench/harvest.ts [--model FOLDER] [--layer 6] [--context 1024] [--batch 8192] [--tokens 1048576]
 *
 * Without --model, a model of GPT-2 small's sizes with random weights in bfloat16. Everyone runs the same token ids as far
 * as the residual stream after that layer, and brings the rows to the host. transformers needs python3 with torch and
 * CUDA; without them only ours is printed, and why. The root mean square of the first rows shows that all compute the same.
 */
import { mkdtemp, rm } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { parseArgs } from "node:util";
import { openGpu } from "../core/gpu/device.ts";
import { readModelSpec } from "../core/model/index.ts";
import { openTransformer } from "../core/model/open.ts";
import { randomWeights, writeModel } from "../test/reference/random-model.ts";

const { values } = parseArgs({
	options: {
		model: { type: "string" },
		layer: { type: "string", default: "6" },
		context: { type: "string", default: "1024" },
		batch: { type: "string", default: "8192" },
		tokens: { type: "string", default: "1048576" },
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
	const ours = await harvest(model, layer, context, batch, tokens);
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
	const rows = [ours, ...(await theirs(["--model", model, ...shape]))];
	console.log(
		`${values.model ?? "GPT-2 small's sizes"}, residual stream after layer ${layer}, contexts of ${context}:\n`,
	);
	console.log("| | tokens/s | ours is faster by | rms |\n|---|---|---|---|");
	for (const { name, tokens_per_second: rate, rms } of rows) {
		const ratio = name === ours.name ? "" : `${(ours.tokens_per_second / rate).toFixed(2)} ×`;
		console.log(`| ${name} | ${Math.round(rate)} | ${ratio} | ${rms.toFixed(5)} |`);
	}
} finally {
	await rm(folder, { recursive: true });
}

async function harvest(
	folder: string,
	layer: number,
	context: number,
	batch: number,
	tokens: number,
): Promise<Row> {
	const gpu = await openGpu();
	const { vocab } = await readModelSpec(folder);
	const sizes = { rows: batch, context, layers: layer + 1, head: false };
	const model = await openTransformer(folder, { gpu, ...sizes });
	const sequences = Array.from({ length: Math.floor(batch / context) }, () => ({ length: context }));
	const rows = sequences.length * context;
	// The same in harvest.py.
	const ids = (pass: number) =>
		Uint32Array.from({ length: rows }, (_, i) => ((pass * rows + i) * 7919 + 13) % vocab);
	/** What was read, while the next pass is computed already. */
	let waiting: Promise<Float32Array> | undefined;
	const run = async (pass: number) => {
		const before = waiting;
		const hook = `blocks.${layer}.hook_resid_post`;
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
	model.close();
	gpu.close();
	return { name: "saeflow, f32", tokens_per_second: (passes * rows) / seconds, rms };
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
