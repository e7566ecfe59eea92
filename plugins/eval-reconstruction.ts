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
import { Activity } from "./reconstruction/activity.ts";
import { Fidelity } from "./reconstruction/fidelity.ts";
import { writeLatents } from "./reconstruction/per-latent.ts";

export default definePlugin({
	name: "eval-reconstruction",
	apiVersion: 1,
	contributes: (core) => [reconstruction(core)],
});

function reconstructionOptions({ z }: Core) {
	return z.object({
		column: z
			.string()
			.optional()
			.describe("Column of vectors; by default activation, or the only one there is"),
		k: z.int().min(1).optional().describe("Latents per row, instead of the SAE's own k"),
		limit: z.int().min(1).optional().describe("Stop after this many rows"),
		per_latent: z
			.string()
			.optional()
			.meta({ hint: "FILE" })
			.describe("Also write a table of every latent's density and activations, as an Arrow file"),
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
	const column = core.findVectorField(stream.schema, options.column).name;
	const fidelity = new Fidelity(model.d_in);
	const activity = new Activity(model.d_sae);
	const runtime = await context.openSae(model, { k: options.k });
	try {
		const limit = options.limit ?? Number.POSITIVE_INFINITY;
		for await (const batch of stream.batches) {
			context.signal.throwIfAborted();
			const vectors = core.inputRows(batch, column, model.d_in, activity.rows);
			const rows = Math.min(vectors.rows, limit - activity.rows);
			const data = vectors.data.subarray(0, rows * model.d_in);
			const codes = await runtime.encode(data, rows);
			fidelity.add(core.widened(data), await runtime.decode(codes));
			activity.add(codes);
			if (activity.rows >= limit) break;
		}
	} finally {
		runtime.close();
	}
	if (activity.rows === 0) throw new core.SaeError("the stream has no rows to evaluate on");
	if (options.per_latent !== undefined) await writeLatents(options.per_latent, model, activity, core);
	return [{ ...fidelity.finish(), ...activity.finish() }];
}
