/** Whether an architecture describes itself soundly, learns, and is the same SAE after saving. */
import { mkdtemp, rm } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { loadSae, saveSae } from "../load.ts";
import type { Plugin } from "../plugin.ts";
import type { TrainMetrics } from "../train/job.ts";
import { train } from "../train-saes.ts";
import { type BenchOptions, toyRows, toyStream, withBench } from "./bench.ts";
import { check, checkContribution, type Subject } from "./check.ts";
import { checkInference, checkTraining } from "./description.ts";
import { checkModel, checkSameCodes } from "./model.ts";

export interface ArchitectureSubject extends Subject, BenchOptions {
	/** Width of the rows to learn from; 16 unless given. */
	readonly d_in?: number;
	/** Latents; 64 unless given. */
	readonly d_sae?: number;
	/** Options of the trainer for the short run that must lower the loss. */
	readonly training?: Readonly<Record<string, unknown>>;
}

const ROWS = 4096;
const EPOCHS = 6;

/**
 * Checks an architecture: its description has the right form and names only what there is, and is the same each time; a
 * short run on easy data keeps the loss finite and lowers it; the finished SAE reconstructs rows better than their mean
 * does, and has the same codes after saving and loading; training goes on from it, from where it was.
 *
 * @throws Error that says what does not hold.
 */
export async function checkArchitecture(plugin: Plugin, subject: ArchitectureSubject = {}): Promise<void> {
	const { contribution, options, title } = await checkContribution(plugin, "architecture", subject);
	const { d_in = 16, d_sae = 64 } = subject;
	const sizes = { d_in, d_out: d_in, d_sae };
	const spec = contribution.training(options, sizes);
	checkTraining(spec, sizes, title);
	check(
		JSON.stringify(contribution.training(options, sizes)) === JSON.stringify(spec),
		`${title}: training() gives another description the second time`,
	);

	const rows = toyRows(ROWS, d_in);
	const folder = await mkdtemp(join(tmpdir(), "sae-conformance-"));
	try {
		await withBench(plugin, subject, async (bench) => {
			const { registry, context } = bench;
			const learn = async (passes: number, extra: object, training: object) => {
				const reported: TrainMetrics[] = [];
				const [model] = await train({
					registry,
					gpu: await context.gpu(),
					stream: toyStream(repeated(rows, passes), d_in),
					saes: [{ architecture: contribution.name, d_sae, options: subject.options ?? {}, ...extra }],
					options: { batch_size: 128, shuffle_buffer: 0, lr: 0.01, log_every: 8, ...training },
					report: (metrics) => void reported.push(metrics),
				});
				return { model: model!, reported };
			};
			const { model, reported } = await learn(EPOCHS, {}, { tokens: EPOCHS * ROWS, ...subject.training });
			checkProgress(reported, title);
			checkModel(model, `${title}: the finished SAE`);
			const saved = await registry.find("architecture", model.architecture);
			check(
				saved,
				`${title}: the finished SAE is of the architecture ${model.architecture}, which no plugin can run`,
			);
			checkInference(saved.inference(model, {}), title);

			const before = fvu(rows, (await bench.run(model, rows)).decoded, d_in);
			check(
				before < 1,
				`${title}: after training, FVU on the training data is ${before}: no better than their mean`,
			);
			const path = join(folder, "sae");
			await saveSae(model, path, registry);
			const loaded = await loadSae(path, registry);
			await checkSameCodes(bench, [model, loaded], 0, `${title}: after saving and loading`);

			const resumed = await learn(1, { initial: loaded }, { ...subject.training, tokens: 128, lr: 1e-9 });
			const after = fvu(rows, (await bench.run(resumed.model, rows)).decoded, d_in);
			check(
				after < before * 1.1 + 0.01,
				`${title}: training on from the saved SAE begins with FVU ${after}, but the SAE's is ${before}; see restore()`,
			);
		});
	} finally {
		await rm(folder, { recursive: true, force: true });
	}
}

function checkProgress(reported: readonly TrainMetrics[], title: string): void {
	for (const { step, loss } of reported)
		check(Number.isFinite(loss), `${title}: the loss at step ${step} is ${loss}`);
	const quarter = Math.ceil(reported.length / 4);
	const mean = (part: readonly TrainMetrics[]) => part.reduce((sum, { loss }) => sum + loss, 0) / part.length;
	const [first, last] = [mean(reported.slice(0, quarter)), mean(reported.slice(-quarter))];
	check(
		last < first,
		`${title}: the loss does not fall: ${first} in the first quarter of the run, ${last} in the last`,
	);
	check(reported.at(-1)!.l0 > 0, `${title}: no latent is active at the end`);
}

/** Fraction of variance unexplained, of rows [n, d_in]. */
function fvu(rows: Float32Array, decoded: Float32Array, d_in: number): number {
	const means = new Float64Array(d_in);
	rows.forEach((value, i) => {
		means[i % d_in]! += (value * d_in) / rows.length;
	});
	let error = 0;
	let variance = 0;
	rows.forEach((value, i) => {
		error += (value - decoded[i]!) ** 2;
		variance += (value - means[i % d_in]!) ** 2;
	});
	return error / variance;
}

function repeated(rows: Float32Array, times: number): Float32Array {
	const all = new Float32Array(times * rows.length);
	for (let i = 0; i < times; i++) all.set(rows, i * rows.length);
	return all;
}
