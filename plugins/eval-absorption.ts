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
import { letterRow } from "./absorption/letter.ts";
import { writeAbsorption } from "./absorption/saebench.ts";
import { columnWords, tokenWords, type WordReader } from "./absorption/words.ts";
import { checkAdditive } from "./evaluation/additive.ts";
import { encoded, passOptions } from "./evaluation/encoded.ts";
import { type Example, Examples } from "./probing/examples.ts";
import { splitClasses } from "./probing/split.ts";

const LEAST_WORDS = 5;
/** Letters that SAEBench asks for. */
const ENOUGH_LETTERS = 20;

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
			.optional()
			.meta({ hint: "COLUMN" })
			.describe("Column with the word or token of each row; a space, Ġ or ▁ before it is passed over"),
		tokenizer: z
			.string()
			.optional()
			.meta({ hint: "MODEL" })
			.describe("Instead: the tokenizer of a column of token ids, as a model's folder or Hub id"),
		token: z.string().default("token").meta({ hint: "COLUMN" }).describe("That column"),
		split_by: z
			.enum(["words", "rows"])
			.default("words")
			.describe("What is kept to measure on: words that the probes have not seen, or any rows"),
		ranking: z
			.enum(["l1", "difference"])
			.default("l1")
			.describe("A letter's latents are those of the largest weights in an L1-regularised probe, or means"),
		least_f1: z
			.number()
			.min(0)
			.max(1)
			.default(0.6)
			.describe("Letters whose probe's F1 is no higher are left out"),
		test_share: z.number().gt(0).lt(1).default(0.2).describe("Share of each letter to measure on"),
		seed: z.int().min(0).default(42).describe("Seed of the split"),
		saebench: z.string().optional().meta({ hint: "FILE" }).describe("Also write SAEBench's JSON"),
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

async function evaluate(
	core: Core,
	model: SaeModel,
	stream: RecordStream,
	options: Options,
	context: Context,
): Promise<MetricRow[]> {
	checkAdditive(core, model, "decoder rows are compared with a probe on the rows that are encoded");
	const read = await wordReader(core, options, context);
	const examples = new Examples(core, model.d_in);
	const words: string[] = [];
	for await (const { batch, inputs, codes } of encoded(core, model, stream, options, context)) {
		const own = read(batch);
		words.push(...own);
		examples.add(
			own.map((word) => word.slice(0, 1).toUpperCase()),
			undefined,
			inputs,
			codes,
		);
	}
	examples.finish();
	const { train, test, letters } = split(core, examples.all, words, options);
	const rows: MetricRow[] = [];
	for (const letter of letters) {
		await new Promise((resolve) => setImmediate(resolve));
		context.signal.throwIfAborted();
		context.log.progress(`letter ${letter}`);
		const { least_f1: leastF1, ranking } = options;
		rows.push(letterRow(letter, train, test, model, { leastF1, ranking }));
	}
	const kept = rows.filter((row) => row.split !== null).length;
	if (kept < ENOUGH_LETTERS) {
		context.log.warn(
			`${kept} letters have a probe that is good enough; SAEBench takes fewer than ${ENOUGH_LETTERS} for no result`,
		);
	}
	if (options.saebench !== undefined) await writeAbsorption(options.saebench, model, rows, options.seed);
	return [meanOf(rows), ...rows];
}

async function wordReader(core: Core, options: Options, { log }: Context): Promise<WordReader> {
	if ((options.word === undefined) === (options.tokenizer === undefined)) {
		throw core.usageError("give --word, a column of words, or --tokenizer, for a column of token ids");
	}
	if (options.word !== undefined) return columnWords(core, options.word);
	const folder = await core.findModel(options.tokenizer!, log);
	return tokenWords(core, await core.openTokenizer(folder), options.token);
}

/** What the probes learn from and what is measured on, of letters with enough to part. */
function split(core: Core, examples: readonly Example[], words: readonly string[], options: Options) {
	/** By letter, then by what stays together. */
	const units = new Map<string, Map<string | number, number[]>>();
	for (const [i, { label }] of examples.entries()) {
		if (label === "") continue;
		if (!units.has(label)) units.set(label, new Map());
		const own = units.get(label)!;
		const key = options.split_by === "words" ? words[i]! : i;
		if (!own.has(key)) own.set(key, []);
		own.get(key)!.push(i);
	}
	const enough = [...units].filter(([, own]) => own.size >= LEAST_WORDS).sort(([a], [b]) => (a < b ? -1 : 1));
	if (enough.length < 2) {
		const where = options.word === undefined ? `tokens of column ${options.token}` : `column ${options.word}`;
		throw new core.SaeError(
			`${where}: fewer than two letters begin ${LEAST_WORDS} or more ${options.split_by === "words" ? "different words" : "words"}`,
		);
	}
	const members = new Map(enough.map(([letter, own]) => [letter, [...own.values()]]));
	const numbers = new Map([...members].map(([letter, own]) => [letter, [...own.keys()]]));
	const parts = splitClasses(core, numbers, options.test_share, new core.CounterRng(options.seed));
	const taken = (which: "train" | "test") =>
		[...parts].flatMap(([letter, one]) =>
			one[which].flatMap((unit) => members.get(letter)![unit]!.map((i) => examples[i]!)),
		);
	return { train: taken("train"), test: taken("test"), letters: [...parts.keys()] };
}

/** Means over the letters that were not left out. */
function meanOf(rows: readonly MetricRow[]): MetricRow {
	const kept = rows.filter((row) => row.split !== null);
	const mean = (key: string) =>
		kept.length === 0 ? null : kept.reduce((sum, row) => sum + Number(row[key]), 0) / kept.length;
	const means = Object.keys(rows[0]!).map((key) => [key, key === "main_latents" ? "" : mean(key)]);
	return { ...Object.fromEntries(means), letter: `mean of ${kept.length}` };
}
