/**
 * `sae eval tpp`: whether latents that have to do with one class can be taken out without touching the others (targeted
 * probe perturbation, Karvonen et al. 2024, "Evaluating sparse autoencoders on targeted concept erasure tasks").
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
import {
	accuracyWithout,
	attributed,
	type Labelled,
	type LinearProbe,
	linearProbe,
} from "./ablation/probes.ts";
import { checkAdditive, TAKES_OUT } from "./evaluation/additive.ts";
import { writeSaeBench } from "./evaluation/saebench.ts";
import { classesOf } from "./probing/classes.ts";
import { textColumn } from "./probing/examples.ts";
import { type Binary, oneAgainstRest, splitClasses } from "./probing/split.ts";

export default definePlugin({
	name: "eval-tpp",
	apiVersion: 1,
	contributes: (core) => [tpp(core)],
});

function tppOptions(core: Core) {
	return core.z.object({
		label: core.z
			.string()
			.meta({ hint: "COLUMN" })
			.describe("Column with the class of each row: words or numbers"),
		...ablationOptions(core),
	});
}

type Options = z.output<ReturnType<typeof tppOptions>>;

function tpp(core: Core): EvaluatorContribution<Options> {
	return {
		kind: "evaluator",
		name: "tpp",
		summary: "targeted probe perturbation: whether a class's latents can be taken out without the others'",
		options: tppOptions(core),
		input: "stream",
		evaluate: ({ model, stream }, options, context) => evaluate(core, model, stream!, options, context),
	};
}

/** What there is of one class. */
interface Concept {
	readonly label: string;
	readonly train: Labelled;
	readonly test: Labelled;
	readonly probe: LinearProbe;
	readonly accuracy: number;
	/** Its latents, those with the largest effect first. */
	readonly latents: readonly number[];
}

async function evaluate(
	core: Core,
	model: SaeModel,
	stream: RecordStream,
	options: Options,
	context: Context,
): Promise<MetricRow[]> {
	checkAdditive(core, model, TAKES_OUT);
	const examples = await readExamples(core, model, stream, options, context, (batch) =>
		textColumn(core, batch, options.label),
	);
	const classes = classesOf(core, examples, options.label);
	const random = new core.CounterRng(options.seed);
	const split = splitClasses(core, classes, options.test_share, random.derive(0));
	const part = (which: "train" | "test") => new Map([...split].map(([label, one]) => [label, one[which]]));
	const [train, test] = [part("train"), part("test")];
	const labelled = ({ rows, labels }: Binary) => ({ examples: rows.map((row) => examples[row]!), labels });
	const concepts: Concept[] = [];
	for (const [i, label] of [...classes.keys()].entries()) {
		await new Promise((resolve) => setImmediate(resolve));
		context.signal.throwIfAborted();
		context.log.progress(`class ${label}`);
		const own = random.derive(1 + i);
		const learned = labelled(oneAgainstRest(core, train, label, own.derive(0)));
		const tested = labelled(oneAgainstRest(core, test, label, own.derive(1)));
		const probe = linearProbe(learned, model);
		concepts.push({
			label,
			train: learned,
			test: tested,
			probe,
			accuracy: accuracyWithout(tested, probe),
			latents: attributed(learned, probe, "rise"),
		});
	}
	const shuffled = [...core.permutation(random.derive(1 + concepts.length), model.d_sae)];
	const most = Math.max(...options.latents);
	const rows = concepts.map((concept) => ({
		class: concept.label,
		train: concept.train.examples.length,
		test: concept.test.examples.length,
		probe_accuracy: concept.accuracy,
		...Object.assign({}, ...options.latents.map((n) => drops(concept, concepts, concept.latents, n))),
		// What any latents do.
		[`random_tpp_${most}`]: drops(concept, concepts, shuffled, most)[`tpp_${most}`],
		latents: concept.latents.slice(0, 5).join(" "),
	}));
	const all = [meanOf(rows), ...rows];
	if (options.saebench !== undefined) await writeResult(options.saebench, model, all[0]!, options);
	return all;
}

/** How much lower accuracies are without the first n latents: the class's own, and the mean of the others'. */
function drops(
	concept: Concept,
	concepts: readonly Concept[],
	latents: readonly number[],
	n: number,
): Record<string, number> {
	const gone = latents.slice(0, n);
	const drop = ({ test, probe, accuracy }: Concept) => accuracy - accuracyWithout(test, probe, gone);
	const others = concepts.filter((other) => other !== concept).map(drop);
	const intended = drop(concept);
	const unintended = others.reduce((sum, value) => sum + value, 0) / others.length;
	return {
		[`tpp_${n}`]: intended - unintended,
		[`intended_${n}`]: intended,
		[`unintended_${n}`]: unintended,
	};
}

/** Means over classes, each of which counts the same. */
function meanOf(rows: readonly MetricRow[]): MetricRow {
	const mean = (key: string) => rows.reduce((sum, row) => sum + Number(row[key]), 0) / rows.length;
	const means = Object.keys(rows[0]!).map((key) => [key, key === "latents" ? "" : mean(key)]);
	return { ...Object.fromEntries(means), class: "mean" };
}

async function writeResult(path: string, model: SaeModel, mean: MetricRow, options: Options): Promise<void> {
	const metrics = Object.fromEntries(
		options.latents.flatMap((n) => [
			[`tpp_threshold_${n}_total_metric`, Number(mean[`tpp_${n}`])],
			[`tpp_threshold_${n}_intended_diff_only`, Number(mean[`intended_${n}`])],
			[`tpp_threshold_${n}_unintended_diff_only`, Number(mean[`unintended_${n}`])],
		]),
	);
	await writeSaeBench(path, model, {
		type: "tpp",
		config: { random_seed: options.seed, dataset_names: [options.label], n_values: options.latents },
		metrics: { tpp_metrics: metrics },
		details: [{ dataset_name: options.label, ...metrics }],
	});
}
