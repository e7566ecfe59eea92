/**
 * Very many training steps in one process, as a proof that a provider survives them: rows are uploaded anew for each, and
 * a report is read every 100.
 *
 *   bun bench/long.ts [--steps 100000] [--d-in 64] [--d-sae 1024] [--k 16] [--batch 256]
 *
 * Prints a line at every tenth of them: steps per second since the last line, loss, FVU, and the memory of the process. Data are
 * batches of synthetic rows, in turns. SAE_GPU names the provider. A process that dies prints no last line.
 */
import { parseArgs } from "node:util";
import { core } from "../core/api.ts";
import { TrainStep } from "../core/train/step.ts";
import { dictionary, type Generator, rowWriter } from "../plugins/synthetic/generator.ts";
import {
	firstWeights,
	NEVER,
	number,
	openDevice,
	type Size,
	shapeOf,
	specOf,
	stepSettings,
} from "./common.ts";

/** Batches that take turns. */
const RING = 64;
/** Steps from one report to the next. */
const REPORT_EVERY = 100;

const { values } = parseArgs({
	options: {
		steps: { type: "string", default: "100000" },
		"d-in": { type: "string", default: "64" },
		"d-sae": { type: "string", default: "1024" },
		k: { type: "string", default: "16" },
		batch: { type: "string", default: "256" },
	},
});
const size: Size = {
	d_in: number("d-in", values["d-in"]),
	d_sae: number("d-sae", values["d-sae"]),
	k: number("k", values.k),
	batch: number("batch", values.batch),
};
const steps = number("steps", values.steps);

const gpu = await openDevice();
console.log(`${gpu.info.provider}: ${gpu.info.description || gpu.info.device}`);
console.log(`d_in ${size.d_in}, d_sae ${size.d_sae}, k ${size.k}, batch ${size.batch}`);
console.log("| step | steps/s | loss | FVU | resident, MiB |\n|---|---|---|---|---|");
const ring = rowsOf(RING);
const spec = specOf("topk", size);
const step = await TrainStep.create(gpu, spec, shapeOf(size));
step.restore(firstWeights(spec, size, ring[0]!), NEVER);

const shown = Math.max(1, Math.floor(steps / 10));
let since = performance.now();
let last = 0;
for (let update = 1; update <= steps; update++) {
	const show = update % shown === 0 || update === steps;
	step.run({ inputs: ring[update % RING]! }, stepSettings(size, update), show);
	if (!show && update % REPORT_EVERY !== 0) continue;
	const { loss, fvu, stopped } = await step.report();
	if (stopped) throw new Error(`the loss is not finite at step ${update}`);
	if (!show) continue;
	const now = performance.now();
	const rate = ((update - last) / (now - since)) * 1000;
	const resident = process.memoryUsage.rss() / 2 ** 20;
	console.log(
		`| ${update} | ${rate.toFixed(0)} | ${loss.toPrecision(5)} | ${fvu!.toFixed(4)} | ${resident.toFixed(0)} |`,
	);
	[since, last] = [now, update];
}
gpu.close();
console.log(`\n${steps} steps done`);
process.exit(0);

/** Batches of sparse sums of random features, of norm 1 or so. */
function rowsOf(batches: number): Float32Array[] {
	const { d_in, batch } = size;
	const active = Math.min(8, d_in);
	const generator: Generator = {
		d_in,
		features: 4 * d_in,
		support: { count: active, correlation: 0 },
		magnitude: { low: 0.5 / Math.sqrt(active), high: 1.5 / Math.sqrt(active) },
		noise: 0.05 / Math.sqrt(d_in),
		seed: 1,
	};
	const write = rowWriter(core, generator, dictionary(core, generator));
	return Array.from({ length: batches }, (_, i) => {
		const rows = new Float32Array(batch * d_in);
		write(rows, i * batch, batch);
		return rows;
	});
}
