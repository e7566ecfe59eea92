/** Whether a trainer learns, ends with finished SAEs, repeats itself and finds its place again. */
import { mkdtemp, rm } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import type { Plugin } from "../plugin.ts";
import type { SaeModel } from "../sae.ts";
import type { TrainMetrics } from "../train/job.ts";
import { saeJob } from "../train-saes.ts";
import { type BenchOptions, toyRows, toyStream, withBench } from "./bench.ts";
import { check, checkContribution, checkRefuses, type Subject } from "./check.ts";
import { checkModel } from "./model.ts";

export interface TrainerSubject extends Subject, BenchOptions {
	/** The architecture to train, built in or of this plugin, and its options; topk with k = 4 unless given. */
	readonly architecture?: { readonly name: string; readonly options: Readonly<Record<string, unknown>> };
}

const D_IN = 12;
const D_SAE = 48;
const ROWS = 6144;

/**
 * Checks a trainer on two SAEs of one stream: it reports finite figures of each, the loss falls, each SAE is saved once
 * and is sound; the same run gives the same bits; one that is interrupted saves too, and goes on to the same bits; a
 * column that is not there and an empty stream are refused. Give options with which it reports at least ten times in
 * 6144 rows.
 *
 * @throws Error that says what does not hold.
 */
export async function checkTrainer(plugin: Plugin, subject: TrainerSubject = {}): Promise<void> {
	const { contribution, options, title } = await checkContribution(plugin, "trainer", subject);
	const { architecture = { name: "topk", options: { k: 4 } } } = subject;
	const rows = toyRows(ROWS, D_IN);
	const folder = await mkdtemp(join(tmpdir(), "sae-conformance-"));
	try {
		await withBench(plugin, subject, async ({ context, registry }) => {
			const described = await registry.find("architecture", architecture.name);
			check(described, `${title}: there is no architecture ${architecture.name} to train`);
			const chosen = described.options.parse(architecture.options);

			const run = async (
				checkpoint: string,
				{ resume = false, stopAfter = Infinity, data = rows, column = "" } = {},
			) => {
				const saved: { readonly name: string; readonly model: SaeModel }[] = [];
				const reported: TrainMetrics[] = [];
				const stop = new AbortController();
				const saes = ["one", "two"].map((name, i) =>
					saeJob(described, chosen, {
						name,
						d_sae: D_SAE + 16 * i,
						save: async (model) => void saved.push({ name, model }),
					}),
				);
				const job = {
					stream: toyStream(data, D_IN),
					columns: column ? [column] : undefined,
					saes,
					checkpoint: join(folder, checkpoint),
					resume,
					report: async (metrics: TrainMetrics) => {
						reported.push(metrics);
						if (reported.length >= stopAfter) stop.abort();
					},
				};
				await contribution.train(job, options, { ...context, signal: stop.signal });
				return { saved, reported };
			};

			const whole = await run("whole");
			checkReports(whole.reported, title);
			checkSaved(whole.saved, title);
			const again = await run("again");
			check(sameBits(whole.saved, again.saved), `${title}: the same run gives other SAEs the second time`);

			const stopped = await run("stopped", { stopAfter: 2 });
			check(
				stopped.reported.length < whole.reported.length,
				`${title}: goes on when context.signal is aborted`,
			);
			checkSaved(stopped.saved, `${title}, interrupted`);
			const resumed = await run("stopped", { resume: true });
			check(
				sameBits(whole.saved, resumed.saved),
				`${title}: a run that was interrupted and resumed ends with other SAEs`,
			);

			await checkRefuses(
				() => run("column", { column: "missing" }),
				`${title}: a column that is not in the stream`,
			);
			await checkRefuses(
				() => run("empty", { data: new Float32Array(0) }),
				`${title}: a stream without rows`,
			);
		});
	} finally {
		await rm(folder, { recursive: true, force: true });
	}
}

type Saved = readonly { readonly name: string; readonly model: SaeModel }[];

function checkReports(reported: readonly TrainMetrics[], title: string): void {
	for (const name of ["one", "two"]) {
		const own = reported.filter(({ sae }) => sae === name);
		check(
			own.length >= 10,
			`${title}: reports ${own.length} steps of an SAE; give options with which it reports ten`,
		);
		for (const metrics of own) {
			for (const [key, value] of Object.entries(metrics)) {
				const sound = value === null || typeof value === "string" || Number.isFinite(value);
				check(sound, `${title}: reports ${key} ${value} at step ${metrics.step}`);
			}
		}
		const steps = own.map(({ step }) => step);
		check(
			steps.every((step, i) => i === 0 || step > steps[i - 1]!),
			`${title}: steps do not ascend: ${steps}`,
		);
		const third = Math.ceil(own.length / 3);
		const mean = (part: readonly TrainMetrics[]) =>
			part.reduce((sum, { loss }) => sum + loss, 0) / part.length;
		const [first, last] = [mean(own.slice(0, third)), mean(own.slice(-third))];
		check(
			last < first,
			`${title}: the loss does not fall: ${first} in the first third of the run, ${last} in the last`,
		);
	}
}

function checkSaved(saved: Saved, title: string): void {
	const names = saved.map(({ name }) => name).toSorted();
	check(
		names.join() === "one,two",
		`${title}: at its end it must save each SAE once, not: ${names.join(", ") || "none"}`,
	);
	for (const { name, model } of saved) checkModel(model, `${title}: the SAE ${name}`);
}

function sameBits(first: Saved, second: Saved): boolean {
	const bits = (saved: Saved) =>
		JSON.stringify(saved.map(({ name, model }) => [name, model.tensors]).toSorted());
	return bits(first) === bits(second);
}
