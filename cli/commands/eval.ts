/** `sae eval EVALUATOR SAE`: one figure or many about an SAE. */
import { z } from "zod";
import { usageError } from "../../core/errors.ts";
import type { Context, EvaluatorContribution, MetricRow } from "../../core/plugin.ts";
import type { ContributionOf } from "../../core/registry.ts";
import { each, META } from "../../core/stream.ts";
import { definePluginVerb } from "../command.ts";
import { openInput } from "../input.ts";
import { formatOf, outputOptions, writeOutput } from "../output.ts";
import { saeOptions, saePositionals } from "../sae.ts";

export default definePluginVerb({
	name: "eval",
	summary: "measures how good a sparse autoencoder is, or what its data are like",
	details: "One row per result. Compare SAEs on the same rows and at the same L0 only.",
	examples: [
		{ command: "sae activations file held-out.npy | sae eval reconstruction my-sae" },
		{ command: "sae eval reconstruction my-sae held-out.arrow --per-latent latents.arrow --format json" },
		{ command: "sae eval recovery toy-sae --truth features.safetensors" },
		{ command: "sae eval loss my-sae --model openai-community/gpt2 --text held-out.txt" },
		{ command: "sae eval layer-distance layers.arrow --format json" },
	],
	plugin: { kind: "evaluator", optional: false },
	omits(evaluator) {
		if (evaluator.kind !== "evaluator") return [];
		if (evaluator.input === "own") return ["sae", "input"];
		return evaluator.input === "rows" ? ["sae"] : [];
	},
	positionals: saePositionals,
	options: z.object({ ...saeOptions, ...outputOptions }),
	async run({ options, chosen, context }) {
		const { columnTypes, tableBatch, tableSchema } = await import("../../core/arrow/metrics.ts");
		const { contribution } = chosen;
		const results = await resultsOf(contribution, options, chosen.options, context);
		const rows = formatOf(options) === "table" && isWide(results) ? sideways(results) : results;
		const schema = tableSchema(columnTypes(rows), "metrics", { [META.command]: context.command });
		await writeOutput({ schema, batches: each([tableBatch(schema, rows)]) }, options, context);
	},
});

async function resultsOf(
	evaluator: ContributionOf<"evaluator">,
	given: { readonly sae: string; readonly input: string },
	options: unknown,
	context: Context,
): Promise<MetricRow[]> {
	if (evaluator.input === "own") return evaluator.evaluate({}, options, context);
	if (evaluator.input !== "rows") return evaluateSae(evaluator, given, options, context);
	return evaluator.evaluate({ stream: await openInput(given.input, ["activations"]) }, options, context);
}

async function evaluateSae(
	evaluator: EvaluatorContribution,
	{ sae, input }: { readonly sae: string; readonly input: string },
	options: unknown,
	context: Context,
): Promise<MetricRow[]> {
	if (evaluator.input === "none" && input !== "-") {
		throw usageError(`the evaluator ${evaluator.name} reads no stream; leave ${input} out`);
	}
	const model = await context.loadSae(sae);
	if (evaluator.input === "none") return evaluator.evaluate({ model }, options, context);
	const stream = await openInput(input, ["activations", "latents"]);
	return evaluator.evaluate({ model, stream }, options, context);
}

/** Whether there are more figures than rows. */
function isWide(rows: readonly MetricRow[]): boolean {
	return rows.length < Object.keys(rows[0] ?? {}).length;
}

/** A line per figure, which reads better than many columns: rows that have a name become columns of that name. */
function sideways(rows: readonly MetricRow[]): MetricRow[] {
	const nameOf = (row: MetricRow, i: number) => {
		const names = Object.values(row).filter((value) => typeof value === "string");
		return names.join(" ") || (rows.length === 1 ? "value" : `row ${i + 1}`);
	};
	const figures = [...new Set(rows.flatMap(Object.keys))].filter((figure) =>
		rows.some((row) => typeof row[figure] !== "string"),
	);
	return figures.map((figure) => ({
		figure,
		...Object.fromEntries(rows.map((row, i) => [nameOf(row, i), row[figure] ?? null])),
	}));
}
