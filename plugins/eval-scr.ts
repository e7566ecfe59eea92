/**
 * `sae eval scr`: whether a probe that learnt something else along with its label forgets that when latents are taken out
 * (spurious correlation removal, Karvonen et al. 2024, "Evaluating sparse autoencoders on targeted concept erasure tasks").
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
import { readExamples } from "./ablation/examples.ts";
import { ablationOptions } from "./ablation/options.ts";
import { accuracyWithout, attributed, type Labelled, linearProbe } from "./ablation/probes.ts";
import { checkAdditive, TAKES_OUT } from "./evaluation/additive.ts";
import { writeSaeBench } from "./evaluation/saebench.ts";
import { type Example, textColumn } from "./probing/examples.ts";
import { splitClasses } from "./probing/split.ts";

/** Of each of the four combinations. */
const LEAST_EXAMPLES = 5;
/** Accuracy that the bias has to cost for there to be anything to win back. */
const LEAST_GAP = 0.001;

/** The classes of an example, in one text. */
const cellOf = (label: string, spurious: string) => JSON.stringify([label, spurious]);
const classesOf = (cell: string): readonly [string, string] => JSON.parse(cell);

export default definePlugin({
	name: "eval-scr",
	apiVersion: 1,
	contributes: (core) => [scr(core)],
});

function scrOptions(core: Core) {
	const column = (what: string) => core.z.string().meta({ hint: "COLUMN" }).describe(what);
	return core.z.object({
		label: column("Column with one of two classes for each row, e.g. a profession"),
		spurious: column("Column with one of two classes that goes along with it, e.g. a gender"),
		...ablationOptions(core),
	});
}

type Options = z.output<ReturnType<typeof scrOptions>>;

function scr(core: Core): EvaluatorContribution<Options> {
	return {
		kind: "evaluator",
		name: "scr",
		summary:
			"spurious correlation removal: whether taking latents out rids a probe of what it learnt besides",
		options: scrOptions(core),
		input: "stream",
		evaluate: ({ model, stream }, options, context) => evaluate(core, model, stream!, options, context),
	};
}

/** As many examples of each combination, and which class of either column each is of (0 or 1). */
interface Part {
	readonly examples: readonly Example[];
	readonly sides: readonly (readonly [label: number, spurious: number])[];
}

async function evaluate(
	core: Core,
	model: SaeModel,
	stream: RecordStream,
	options: Options,
	context: Context,
): Promise<MetricRow[]> {
	checkAdditive(core, model, TAKES_OUT);
	const examples = await readExamples(core, model, stream, options, context, (batch) => {
		const spurious = textColumn(core, batch, options.spurious);
		return textColumn(core, batch, options.label).map((label, row) => cellOf(label, spurious[row]!));
	});
	const { train, test } = balanced(core, examples, options);
	const of = (part: Part, column: 0 | 1): Labelled => ({
		examples: part.examples,
		labels: part.sides.map((sides) => sides[column]),
	});
	const same = train.sides.map(([label, spurious]) => label === spurious);
	const biased = linearProbe(
		{
			examples: train.examples.filter((_, i) => same[i]),
			labels: train.sides.filter((_, i) => same[i]).map(([label]) => label),
		},
		model,
	);
	// Direction 1 takes out what tells the spurious column and looks at the label; direction 2 the other way round.
	const directions = ([0, 1] as const).map((wanted) => {
		const unwanted = wanted === 0 ? 1 : 0;
		const clean = linearProbe(of(train, wanted), model);
		const latents = attributed(of(train, unwanted), linearProbe(of(train, unwanted), model), "size");
		const tested = of(test, wanted);
		const before = accuracyWithout(tested, biased);
		const best = accuracyWithout(tested, clean);
		return {
			row: {
				test_on: wanted === 0 ? options.label : options.spurious,
				biased_accuracy: before,
				clean_accuracy: best,
			},
			latents,
			scoreOf: (n: number) => {
				const gap = best - before;
				return gap < LEAST_GAP ? 0 : (accuracyWithout(tested, biased, latents.slice(0, n)) - before) / gap;
			},
		};
	});
	const rows = directions.map(({ row, latents, scoreOf }, i) => ({
		direction: `${i + 1}`,
		...row,
		...Object.fromEntries(options.latents.map((n) => [`scr_${n}`, scoreOf(n)])),
		latents: latents.slice(0, 5).join(" "),
	}));
	// What the bias has cost more is what there is to win back.
	const harder = rows[0]!.biased_accuracy <= rows[1]!.biased_accuracy ? 0 : 1;
	const result = [{ ...rows[harder]!, direction: "metric" }, ...rows];
	if (options.saebench !== undefined) await writeResult(options.saebench, model, result, options);
	return result;
}

function balanced(core: Core, examples: readonly Example[], options: Options) {
	const cells = new Map<string, number[]>();
	for (const [i, { label }] of examples.entries()) {
		if (!cells.has(label)) cells.set(label, []);
		cells.get(label)!.push(i);
	}
	const names = ([0, 1] as const).map((column) =>
		[...new Set([...cells.keys()].map((cell) => classesOf(cell)[column]))].sort(),
	);
	for (const [column, own] of names.entries()) {
		if (own.length === 2) continue;
		const name = column === 0 ? options.label : options.spurious;
		throw new core.SaeError(
			`column ${name}: has ${own.length} classes (${own.slice(0, 5).join(", ")}), not two`,
		);
	}
	const order = names[0]!.flatMap((label) => names[1]!.map((spurious) => cellOf(label, spurious)));
	const size = Math.min(...order.map((cell) => cells.get(cell)?.length ?? 0));
	if (size < LEAST_EXAMPLES) {
		const rare = order.find((cell) => (cells.get(cell)?.length ?? 0) === size)!;
		throw new core.SaeError(
			`${classesOf(rare).join(" with ")} has ${size} examples; each combination needs ${LEAST_EXAMPLES}`,
		);
	}
	const random = new core.CounterRng(options.seed);
	const whole = new Map(order.map((cell) => [cell, cells.get(cell)!]));
	const split = splitClasses(core, whole, options.test_share, random);
	const part = (which: "train" | "test"): Part => {
		const least = Math.min(...[...split.values()].map((one) => one[which].length));
		const taken = order.flatMap((cell, i) =>
			split
				.get(cell)!
				[which].slice(0, least)
				.map((row) => ({ row, sides: [i >> 1, i & 1] as const })),
		);
		return { examples: taken.map(({ row }) => examples[row]!), sides: taken.map(({ sides }) => sides) };
	};
	return { train: part("train"), test: part("test") };
}

async function writeResult(
	path: string,
	model: SaeModel,
	[metric, first, second]: readonly MetricRow[],
	options: Options,
): Promise<void> {
	const metrics = Object.fromEntries(
		options.latents.flatMap((n) => [
			[`scr_dir1_threshold_${n}`, Number(first![`scr_${n}`])],
			[`scr_metric_threshold_${n}`, Number(metric![`scr_${n}`])],
			[`scr_dir2_threshold_${n}`, Number(second![`scr_${n}`])],
		]),
	);
	const dataset = `${options.label} ${options.spurious}`;
	await writeSaeBench(path, model, {
		type: "scr",
		config: { random_seed: options.seed, dataset_names: [dataset], n_values: options.latents },
		metrics: { scr_metrics: metrics },
		details: [{ dataset_name: dataset, ...metrics }],
	});
}
