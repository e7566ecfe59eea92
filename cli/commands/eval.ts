/** `sae eval EVALUATOR SAE`: one figure or many about an SAE. */
import { z } from "zod";
import { usageError } from "../../core/errors.ts";
import type { MetricRow } from "../../core/plugin.ts";
import { META } from "../../core/stream.ts";
import { definePluginVerb } from "../command.ts";
import { openInput } from "../input.ts";
import { formatOf, outputOptions, writeOutput } from "../output.ts";
import { registry } from "../plugins.ts";
import { saeOptions, saePositionals } from "../sae.ts";

export default definePluginVerb({
	name: "eval",
	summary: "measures how good a sparse autoencoder is",
	details: "One row per result. Compare SAEs on the same rows and at the same L0 only.",
	examples: [
		{ command: "sae activations file held-out.npy | sae eval reconstruction my-sae" },
		{ command: "sae eval reconstruction my-sae held-out.arrow --per-latent latents.arrow --format json" },
		{ command: "sae eval recovery toy-sae --truth features.safetensors" },
	],
	plugin: { kind: "evaluator", optional: false },
	positionals: saePositionals,
	options: z.object({ ...saeOptions, ...outputOptions }),
	async run({ options, chosen, context }) {
		const [{ columnTypes, tableBatch, tableSchema }, { loadSae }] = await Promise.all([
			import("../../core/arrow/metrics.ts"),
			import("../../core/load.ts"),
		]);
		const { contribution } = chosen;
		if (contribution.input === "none" && options.input !== "-") {
			throw usageError(`the evaluator ${contribution.name} reads no stream; leave ${options.input} out`);
		}
		const model = await loadSae(options.sae, registry);
		const input =
			contribution.input === "stream"
				? { model, stream: await openInput(options.input, ["activations", "latents"]) }
				: { model };
		const results = await contribution.evaluate(input, chosen.options, context);
		const rows = formatOf(options) === "table" ? sideways(results) : results;
		const schema = tableSchema(columnTypes(rows), "metrics", { [META.command]: context.command });
		await writeOutput({ schema, batches: once(tableBatch(schema, rows)) }, options, context);
	},
});

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

async function* once<T>(value: T): AsyncGenerator<T> {
	yield value;
}
