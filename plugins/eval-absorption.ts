/**
 * `sae eval absorption`: whether latents of a word's first letter are silent where another latent stands in for them, and
 * into how many latents a letter is split (Chanin et al. 2024, "A is for absorption"), by SAEBench's measure, which
 * needs activations only.
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
import { absorptionOf, type ProbeView, splitCount } from "./absorption/absorption.ts";
import { encoded, passOptions } from "./evaluation/encoded.ts";
import {
	columnsOf,
	denseDesign,
	type Example,
	Examples,
	sparseDesign,
	textColumn,
} from "./probing/examples.ts";
import { type Design, logisticRegression, type Probe } from "./probing/logistic.ts";
import { splitClasses } from "./probing/split.ts";

const LEAST_WORDS = 5;
const MOST_SPLIT = 10;

export default definePlugin({
	name: "eval-absorption",
	apiVersion: 1,
	contributes: (core) => [absorption(core)],
});

function absorptionOptions(core: Core) {
	const { z } = core;
	return z.object({
		word: z
			.string()
			.meta({ hint: "COLUMN" })
			.describe("Column with the word or token of each row; a space, Ġ or ▁ before it is passed over"),
		least_f1: z
			.number()
			.min(0)
			.max(1)
			.default(0.6)
			.describe("Letters whose probe's F1 is no higher are left out"),
		test_share: z.number().gt(0).lt(1).default(0.2).describe("Share of each letter's words to measure on"),
		seed: z.int().min(0).default(42).describe("Seed of the split"),
		...passOptions(core, 20_000),
	});
}

type Options = z.output<ReturnType<typeof absorptionOptions>>;

function absorption(core: Core): EvaluatorContribution<Options> {
	return {
		kind: "evaluator",
		name: "absorption",
		summary: "first letters of words: latents that absorb them, and how many latents a letter is split into",
		options: absorptionOptions(core),
		input: "stream",
		evaluate: ({ model, stream }, options, context) => evaluate(core, model, stream!, options, context),
	};
}

/** The first letter of a word of letters alone; "" for others. */
function letterOf(word: string): string {
	return /^[ \u0120\u2581]?([a-z])[a-z]*$/i.exec(word)?.[1]?.toUpperCase() ?? "";
}

async function evaluate(
	core: Core,
	model: SaeModel,
	stream: RecordStream,
	options: Options,
	context: Context,
): Promise<MetricRow[]> {
	if ((model.d_out ?? model.d_in) !== model.d_in) {
		throw new core.SaeError(
			"absorption compares decoder rows with a probe on the input; this SAE reconstructs another width",
		);
	}
	const examples = new Examples(core, model.d_in);
	for await (const { batch, inputs, codes } of encoded(core, model, stream, options, context)) {
		examples.add(textColumn(core, batch, options.word).map(letterOf), undefined, inputs, codes);
	}
	examples.finish();
	const words = examples.all.filter(({ label }) => label !== "");
	const letters = new Map<string, number[]>();
	for (const [i, { label }] of words.entries()) {
		if (!letters.has(label)) letters.set(label, []);
		letters.get(label)!.push(i);
	}
	for (const [letter, own] of letters) if (own.length < LEAST_WORDS) letters.delete(letter);
	if (letters.size < 2) {
		throw new core.SaeError(
			`column ${options.word}: fewer than two letters begin ${LEAST_WORDS} or more words`,
		);
	}
	const split = splitClasses(
		core,
		new Map([...letters].sort()),
		options.test_share,
		new core.CounterRng(options.seed),
	);
	const part = (which: "train" | "test") =>
		[...split.values()].flatMap((one) => one[which].map((i) => words[i]!));
	const rows: MetricRow[] = [];
	for (const letter of split.keys()) {
		await new Promise((resolve) => setImmediate(resolve));
		context.signal.throwIfAborted();
		rows.push(letterRow(letter, part("train"), part("test"), model, options.least_f1));
	}
	return [meanOf(rows), ...rows];
}

function letterRow(
	letter: string,
	train: readonly Example[],
	test: readonly Example[],
	{ d_in, d_sae, tensors }: SaeModel,
	leastF1: number,
): MetricRow {
	const labelsOf = (examples: readonly Example[]) => examples.map(({ label }) => Number(label === letter));
	const raw = (examples: readonly Example[]) =>
		denseDesign(
			examples.map(({ activations }) => activations),
			d_in,
		);
	const latents = (examples: readonly Example[]) =>
		sparseDesign(
			examples.map((one) => one.latents),
			d_sae,
		);
	const [learn, check] = [labelsOf(train), labelsOf(test)];
	const positives = learn.reduce((sum, label) => sum + label, 0);
	const balance = { positive: (learn.length - positives) / positives };
	const probe = logisticRegression(raw(train), learn, balance);
	const probeHits = hits(raw(test), probe);
	const probeF1 = f1(probeHits, check);
	const base = { letter, words: positives + check.reduce((sum, label) => sum + label, 0), probe_f1: probeF1 };
	if (probeF1 <= leastF1) return { ...base, ...LEFT_OUT };

	const ranked = risen(latents(train), learn);
	const scores = Array.from({ length: Math.min(MOST_SPLIT, d_sae) }, (_, i) => {
		const columns = ranked.slice(0, i + 1);
		const own = logisticRegression(columnsOf(latents(train), columns), learn, balance);
		return f1(hits(columnsOf(latents(test), columns), own), check);
	});
	const main = ranked.slice(0, splitCount(scores));
	const direction = unit(probe.weights);
	const view = probeView(direction, tensors.W_dec!.data, d_sae, new Set(main));
	const found = test
		.filter((_, i) => check[i] && probeHits[i])
		.map((one) => absorptionOf(one.latents, dot(one.activations, direction), view));
	const mean = (values: readonly number[]) => values.reduce((sum, value) => sum + value, 0) / values.length;
	return {
		...base,
		true_positives: found.length,
		main_latents: main.join(" "),
		split: main.length,
		top_1_f1: scores[0]!,
		full_absorption: mean(found.map(({ full }) => Number(full))),
		absorption_fraction: mean(found.map(({ fraction }) => fraction)),
	};
}

const LEFT_OUT = {
	true_positives: null,
	main_latents: "",
	split: null,
	top_1_f1: null,
	full_absorption: null,
	absorption_fraction: null,
};

function probeView(
	direction: Float64Array,
	W_dec: Float32Array,
	d_sae: number,
	main: ReadonlySet<number>,
): ProbeView {
	const width = direction.length;
	const rows = Array.from({ length: d_sae }, (_, latent) =>
		W_dec.subarray(latent * width, (latent + 1) * width),
	);
	const norm = Float64Array.from(rows, (row) => Math.sqrt(dot(row, row)));
	return { norm, cosine: Float64Array.from(rows, (row, i) => dot(row, direction) / (norm[i]! || 1)), main };
}

/** Latents by how much more active they are, on average, where the label is 1. */
function risen(design: Design, labels: readonly number[]): number[] {
	const rise = new Float64Array(design.width);
	const positives = labels.reduce((sum, label) => sum + label, 0);
	for (const [row, label] of labels.entries()) {
		design.add(row, label ? 1 / positives : -1 / (labels.length - positives), rise);
	}
	return Array.from(rise.keys()).sort((a, b) => rise[b]! - rise[a]! || a - b);
}

function hits(design: Design, { weights, bias }: Probe): boolean[] {
	return Array.from({ length: design.rows }, (_, row) => design.dot(row, weights) + bias > 0);
}

function f1(found: readonly boolean[], labels: readonly number[]): number {
	const right = found.filter((hit, i) => hit && labels[i]).length;
	const either = found.filter(Boolean).length + labels.reduce((sum, label) => sum + label, 0);
	return either === 0 ? 0 : (2 * right) / either;
}

function unit(values: Float64Array): Float64Array {
	const norm = Math.sqrt(dot(values, values)) || 1;
	return values.map((value) => value / norm);
}

function dot(a: ArrayLike<number>, b: ArrayLike<number>): number {
	let sum = 0;
	for (let i = 0; i < a.length; i++) sum += a[i]! * b[i]!;
	return sum;
}

/** Means over the letters that were not left out. */
function meanOf(rows: readonly MetricRow[]): MetricRow {
	const kept = rows.filter((row) => row.split !== null);
	const mean = (key: string) =>
		kept.length === 0 ? null : kept.reduce((sum, row) => sum + Number(row[key]), 0) / kept.length;
	const means = Object.keys(rows[0]!).map((key) => [key, key === "main_latents" ? "" : mean(key)]);
	return { ...Object.fromEntries(means), letter: `mean of ${kept.length}` };
}
