/**
 * `sae eval loss`: what a language model loses when SAEs take the place of its activations. Names are SAEBench's; the
 * loss of zero-ablation is `_with_ablation`, that of the mean has its own.
 */
import {
	type Context,
	type Core,
	definePlugin,
	type MetricRow,
	type OpenedSae,
	type OwnEvaluatorContribution,
	type PassTokens,
	type TextContext,
	type TextInput,
	type Transformer,
} from "saeflow";
import type { z } from "zod";
import { meanRows } from "./eval-loss/mean-rows.ts";
import { Scores } from "./eval-loss/scores.ts";
import { writeCore } from "./evaluation/saebench-core.ts";

export default definePlugin({
	name: "eval-loss",
	apiVersion: 1,
	contributes: (core) => [loss(core)],
});

function lossOptions(core: Core) {
	const { z, textOptions, modelOption, hookPointsOption, skipOption, batchTokensOption } = core;
	return z.object({
		sae: z
			.array(z.string())
			.min(1)
			.describe(
				"SAEs; several are measured one by one, and all at once where each has a hook point of its own",
			),
		model: modelOption,
		hook_point: hookPointsOption,
		error: z
			.enum(["drop", "keep"])
			.default("drop")
			.describe("Whether what an SAE leaves unexplained is added again; then nothing should change"),
		...textOptions,
		exclude_special: z
			.boolean()
			.default(false)
			.describe("Special tokens (BOS, EOS, padding) keep their activations and are not counted"),
		skip: skipOption,
		limit: z.int().min(2).default(409_600).describe("Tokens to evaluate on at most"),
		batch_tokens: batchTokensOption,
		saebench: z
			.string()
			.optional()
			.meta({ hint: "FILE" })
			.describe(
				"Also write one SAE's figures as SAEBench's JSON of core results, or add to what sae eval reconstruction wrote there",
			),
	});
}

type Options = z.output<ReturnType<typeof lossOptions>>;

function loss(core: Core): OwnEvaluatorContribution<Options> {
	return {
		kind: "evaluator",
		name: "loss",
		summary:
			"a language model's loss with SAEs in it: loss recovered against zero- and mean-ablation, and KL",
		options: lossOptions(core),
		positional: { key: "sae", variadic: true },
		input: "own",
		evaluate: (_, options, context) => evaluate(core, options, context),
	};
}

async function evaluate(core: Core, options: Options, context: Context): Promise<MetricRow[]> {
	const { saebench } = options;
	if (saebench !== undefined && options.sae.length > 1) {
		throw core.usageError("--saebench: a file is of one SAE; evaluate them one by one");
	}
	const folder = await core.findModel(options.model, context.log);
	const spec = await core.readModelSpec(folder);
	const text = await core.openText(folder, spec, options);
	const contexts = await core.firstContexts(text.contexts(), options);
	const saes = await core.openSaesIn(spec, options.sae, options.hook_point, context, true);
	let model: Transformer | undefined;
	try {
		model = await core.openTransformer(folder, {
			gpu: await context.gpu(),
			context: text.length,
			...(options.batch_tokens && { rows: Math.max(options.batch_tokens, text.length) }),
		});
		const rows = await measure(core, model, saes, contexts, text, options, context);
		if (saebench !== undefined) {
			const figures = { ...rows[0]!, total_tokens_eval_reconstruction: rows[0]!.tokens! };
			await writeCore(saebench, saes[0]!.model, figures, {
				model_name: options.model,
				exclude_special_tokens_from_reconstruction: options.exclude_special,
			});
		}
		return rows;
	} finally {
		model?.close();
		for (const { runtime } of saes) runtime.close();
	}
}

async function measure(
	core: Core,
	model: Transformer,
	saes: readonly OpenedSae[],
	contexts: readonly TextContext[],
	{ special }: TextInput,
	{ error, exclude_special: exclude }: Options,
	{ signal, log }: Context,
): Promise<MetricRow[]> {
	const passes = () => core.packPasses(contexts, model.rows);
	const spared =
		({ tokens }: PassTokens) =>
		(row: number) =>
			special.has(tokens[row]!);
	const counted = exclude ? (pass: PassTokens) => (row: number) => !spared(pass)(row) : () => () => true;
	const points = saes.flatMap(({ writes }) => writes);
	const means = await meanRows(model, passes(), points, counted, signal);
	const groups = saes.map((one) => [one]);
	if (saes.length > 1 && core.contestedPoint(saes) === undefined) groups.unshift([...saes]);
	const scores = groups.map((group) => new Scores(core, group));
	const changes = groups.flatMap((group, g) => {
		const into = group.flatMap(({ writes }) => writes);
		const replaced = (vectorOf: (name: string, width: number) => Float32Array) => (pass: PassTokens) =>
			new Map(
				into.map(({ name, width }) => [
					name,
					core.replaceRows(model, vectorOf(name, width), exclude ? spared(pass) : undefined),
				]),
			);
		return [
			(pass: PassTokens) =>
				core.spliceHooks(
					model,
					group.map((sae, i) => ({
						sae,
						options: {
							keepError: error === "keep",
							spared: exclude ? spared(pass) : undefined,
							seen: (codes) => scores[g]!.see(i, codes, counted(pass)),
						},
					})),
				),
			replaced((_, width) => new Float32Array(width)),
			replaced((name) => means.get(name)!),
		];
	});
	let tokens = 0;
	for await (const { pass, clean, changed } of core.compareLosses(model, passes(), changes, signal)) {
		const counts = counted(pass);
		for (const [g, one] of scores.entries()) one.add(pass, clean, changed.slice(3 * g, 3 * g + 3), counts);
		tokens += pass.tokens.length;
		log.progress(`${tokens} tokens`);
	}
	return scores.map((one) => one.row(error));
}
