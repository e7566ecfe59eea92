/**
 * `sae eval probing`: how well a few latents tell classes apart (sparse probing, Gurnee et al. 2023), with SAEBench's
 * choice of latents, balance of classes and names of figures (Karvonen et al. 2025).
 */
import {
	type Context,
	type Core,
	definePlugin,
	type EvaluatorContribution,
	type MetricRow,
	type RecordStream,
	type SaeModel,
} from "saeflow";
import type { z } from "zod";
import { encoded, passOptions } from "./evaluation/encoded.ts";
import { numberList } from "./evaluation/numbers.ts";
import { writeSaeBench } from "./evaluation/saebench.ts";
import { classesOf } from "./probing/classes.ts";
import {
	columnsOf,
	denseDesign,
	type Example,
	Examples,
	mostDifferent,
	sparseDesign,
	textColumn,
} from "./probing/examples.ts";
import { accuracy, type Design, logisticRegression } from "./probing/logistic.ts";
import { type Binary, oneAgainstRest, splitClasses } from "./probing/split.ts";

export default definePlugin({
	name: "eval-probing",
	apiVersion: 1,
	contributes: (core) => [probing(core)],
});

function probingOptions(core: Core) {
	const { z } = core;
	return z.object({
		label: z
			.string()
			.meta({ hint: "COLUMN" })
			.describe("Column with the class of each row: words or numbers"),
		group: z
			.string()
			.optional()
			.meta({ hint: "COLUMN" })
			.describe(
				"Rows that follow each other with one value here are one example, by their mean; e.g. document",
			),
		top: numberList(core, z.int().min(1))
			.default([1, 2, 5, 20])
			.meta({ hint: "N,..." })
			.describe("How many latents a probe may see"),
		test_share: z.number().gt(0).lt(1).default(0.2).describe("Share of each class to test on"),
		seed: z.int().min(0).default(42).describe("Seed of the split and of the balanced classes"),
		saebench: z.string().optional().meta({ hint: "FILE" }).describe("Also write SAEBench's JSON"),
		...passOptions(core, 20_000),
	});
}

type Options = z.output<ReturnType<typeof probingOptions>>;

function probing(core: Core): EvaluatorContribution<Options> {
	return {
		kind: "evaluator",
		name: "probing",
		summary: "how well the best 1, 2, 5, 20 latents tell the classes of a label column apart",
		options: probingOptions(core),
		input: "stream",
		evaluate: ({ model, stream }, options, context) => evaluate(core, model, stream!, options, context),
	};
}

async function evaluate(
	core: Core,
	model: SaeModel,
	stream: RecordStream,
	options: Options,
	context: Context,
): Promise<MetricRow[]> {
	const examples = new Examples(core, model.d_in);
	for await (const { batch, inputs, codes } of encoded(core, model, stream, options, context)) {
		const groups = options.group === undefined ? undefined : textColumn(core, batch, options.group);
		examples.add(textColumn(core, batch, options.label), groups, inputs, codes);
	}
	examples.finish();
	const classes = classesOf(core, examples.all, options.label);
	const random = new core.CounterRng(options.seed);
	const split = splitClasses(core, classes, options.test_share, random.derive(0));
	const part = (which: "train" | "test") => new Map([...split].map(([label, one]) => [label, one[which]]));
	const [train, test] = [part("train"), part("test")];
	const rows: MetricRow[] = [];
	for (const [i, label] of [...classes.keys()].entries()) {
		await new Promise((resolve) => setImmediate(resolve));
		context.signal.throwIfAborted();
		context.log.progress(`class ${label}`);
		const own = random.derive(1 + i);
		const learned = oneAgainstRest(core, train, label, own.derive(0));
		const tested = oneAgainstRest(core, test, label, own.derive(1));
		const shuffled = core.permutation(own.derive(2), learned.rows.length);
		const figures = probeClass(examples.all, learned, tested, shuffled, options.top, model);
		rows.push({ class: label, train: learned.rows.length, test: tested.rows.length, ...figures });
	}
	const all = [meanOf(rows), ...rows];
	if (options.saebench !== undefined) await writeResult(options.saebench, model, all[0]!, options);
	return all;
}

function probeClass(
	examples: readonly Example[],
	train: Binary,
	test: Binary,
	shuffled: Uint32Array,
	top: readonly number[],
	{ d_in, d_sae }: SaeModel,
): MetricRow {
	const latents = ({ rows }: Binary) =>
		sparseDesign(
			rows.map((row) => examples[row]!.latents),
			d_sae,
		);
	const raw = ({ rows }: Binary) =>
		denseDesign(
			rows.map((row) => examples[row]!.activations),
			d_in,
		);
	const most = Math.max(...top);
	const sae = probes(latents(train), train.labels, latents(test), test.labels, top);
	const llm = probes(raw(train), train.labels, raw(test), test.labels, top);
	const wrong = Array.from(shuffled, (row) => train.labels[row]!);
	const chance = probes(latents(train), wrong, latents(test), test.labels, [most]);
	return {
		...prefixed("sae", sae.figures),
		...prefixed("llm", llm.figures),
		[`shuffled_top_${most}_test_accuracy`]: chance.figures[`top_${most}_test_accuracy`]!,
		latents: sae.chosen.slice(0, 5).join(" "),
	};
}

/** Accuracies of probes on the columns that differ most between the labels, and on all columns. */
function probes(
	train: Design,
	labels: readonly number[],
	test: Design,
	testLabels: readonly number[],
	top: readonly number[],
): { readonly figures: Record<string, number>; readonly chosen: readonly number[] } {
	const chosen = mostDifferent(train, labels, Math.max(...top));
	const tried = (columns: readonly number[]) =>
		accuracy(columnsOf(test, columns), testLabels, logisticRegression(columnsOf(train, columns), labels));
	const figures = Object.fromEntries(top.map((n) => [`top_${n}_test_accuracy`, tried(chosen.slice(0, n))]));
	const all = accuracy(test, testLabels, logisticRegression(train, labels));
	return { figures: { ...figures, test_accuracy: all }, chosen };
}

function prefixed(prefix: string, figures: Readonly<Record<string, number>>): Record<string, number> {
	return Object.fromEntries(Object.entries(figures).map(([name, value]) => [`${prefix}_${name}`, value]));
}

/** Means over classes, each of which counts the same. */
function meanOf(rows: readonly MetricRow[]): MetricRow {
	const mean = (key: string) => rows.reduce((sum, row) => sum + Number(row[key]), 0) / rows.length;
	const means = Object.keys(rows[0]!).map((key) => [key, key === "latents" ? "" : mean(key)]);
	return { ...Object.fromEntries(means), class: "mean" };
}

async function writeResult(path: string, model: SaeModel, row: MetricRow, options: Options): Promise<void> {
	const figures = (prefix: string) =>
		Object.fromEntries(
			Object.entries(row).flatMap(([key, value]) => (key.startsWith(prefix) ? [[key, Number(value)]] : [])),
		);
	const metrics = { llm: figures("llm_"), sae: figures("sae_") };
	await writeSaeBench(path, model, {
		type: "sparse_probing",
		config: { random_seed: options.seed, dataset_names: [options.label], k_values: options.top },
		metrics,
		details: [{ dataset_name: options.label, ...metrics.llm, ...metrics.sae }],
	});
}
