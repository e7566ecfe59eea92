/** `sae eval reconstruction`: how well an SAE reconstructs a stream, and how sparse and alive its latents are. */
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
import { firstRows, targetOption } from "./evaluation/encoded.ts";
import { writeCore } from "./evaluation/saebench-core.ts";
import { Activity } from "./reconstruction/activity.ts";
import { Fidelity } from "./reconstruction/fidelity.ts";
import { ColumnFigures, LayerFigures } from "./reconstruction/parts.ts";
import { writeLatents } from "./reconstruction/per-latent.ts";

export default definePlugin({
	name: "eval-reconstruction",
	apiVersion: 1,
	contributes: (core) => [reconstruction(core)],
});

function reconstructionOptions(core: Core) {
	const { z, columnNames } = core;
	return z.object({
		column: columnNames
			.optional()
			.meta({ hint: "NAME,..." })
			.describe("Columns of vectors; by default those that the SAE was trained on, or the only one there is"),
		target: targetOption(core),
		k: z.int().min(1).optional().describe("Latents per row, instead of the SAE's own k"),
		limit: z.int().min(1).optional().describe("Stop after this many rows"),
		per_latent: z
			.string()
			.optional()
			.meta({ hint: "FILE" })
			.describe("Also write a table of every latent's density and activations, as an Arrow file"),
		saebench: z
			.string()
			.optional()
			.meta({ hint: "FILE" })
			.describe("Also write SAEBench's JSON of core results, or add to what sae eval loss wrote there"),
	});
}

type Options = z.output<ReturnType<typeof reconstructionOptions>>;

function reconstruction(core: Core): EvaluatorContribution<Options> {
	return {
		kind: "evaluator",
		name: "reconstruction",
		summary: "error, explained variance, L0, dead latents and densities on a stream of activations",
		options: reconstructionOptions(core),
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
	const { schema } = stream;
	const reader = core.saeReader(schema, model, { columns: options.column, targets: options.target });
	const { d_in, d_out = d_in, d_sae } = model;
	const fidelity = new Fidelity(d_out);
	const activity = new Activity(d_sae);
	const columns = new ColumnFigures(reader.targets);
	const layers = new LayerFigures(d_out, d_sae);
	const layered = core.isNumberColumn(schema, core.LAYER_COLUMN);
	const runtime = await context.openSae(model, { k: options.k });
	try {
		const rowsToRead = firstRows(core, stream, options.limit ?? Number.POSITIVE_INFINITY);
		const batches = core.overlapped(rowsToRead, async (batch, taken) => {
			// Streams that come to evaluators are of new memory for every batch.
			taken();
			const { inputs, rows, targets, restored } = reader.read(batch);
			const codes = await runtime.encode(inputs, rows);
			const y = restored(await runtime.decode(codes, inputs));
			return { batch, evaluated: { x: targets(), y, codes } };
		});
		for await (const { batch, evaluated } of batches) {
			context.signal.throwIfAborted();
			fidelity.add(evaluated.x, evaluated.y);
			activity.add(evaluated.codes);
			columns.add(reader.targetWidths, evaluated);
			if (layered) layers.add(core.numberColumn(batch, core.LAYER_COLUMN), evaluated);
		}
	} finally {
		runtime.close();
	}
	if (activity.rows === 0) throw new core.SaeError("the stream has no rows to evaluate on");
	if (options.per_latent !== undefined) await writeLatents(options.per_latent, model, activity, core);
	const all = { ...fidelity.finish(), ...activity.finish() };
	if (options.saebench !== undefined) {
		const figures = {
			...all,
			...activity.shares(),
			cossim: all.cosine,
			total_tokens_eval_sparsity_variance: all.rows,
		};
		await writeCore(options.saebench, model, figures, {});
	}
	const parts = [...columns.finish(), ...layers.finish()];
	if (parts.length === 0) return [all];
	const nothing = Object.fromEntries(Object.keys(all).map((figure) => [figure, null]));
	return [{ of: "all rows", ...all }, ...parts.map(({ of, ...part }) => ({ of: of!, ...nothing, ...part }))];
}
