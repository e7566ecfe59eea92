/** `sae activations SOURCE`: what a source reads or makes, as a stream. */
import { Schema } from "apache-arrow";
import { z } from "zod";
import { keepLayers } from "../../core/layers.ts";
import { META } from "../../core/stream.ts";
import { readNumber } from "../argv.ts";
import { definePluginVerb } from "../command.ts";
import { outputOptions, writeOutput } from "../output.ts";

export default definePluginVerb({
	name: "activations",
	summary: "reads or generates activations and writes them as a stream",
	details:
		"The stream is plain Arrow IPC, so pyarrow, DuckDB and polars read it too. On a terminal the first rows are shown.",
	examples: [
		{ command: "sae activations file acts.safetensors --tensor activations | sae train topk --out my-sae" },
		{ command: "sae activations file 'shards/*.npy' --shuffle-buffer 65536 --epochs 2 --out shuffled.arrow" },
		{ command: "sae activations synthetic --out toy.arrow" },
	],
	plugin: { kind: "source", optional: false },
	options: z.object({
		start: z
			.int()
			.min(0)
			.default(0)
			.meta({ hint: "ROW" })
			.describe("Begin at this row of the source's order; a resumed reader says where it was"),
		layers: z
			.preprocess(numbersOf, z.array(z.int().min(0)).min(1))
			.optional()
			.meta({ hint: "N,..." })
			.describe("Only rows of these layers, by the column layer; they are numbered anew"),
		...outputOptions,
	}),
	async run({ options, chosen, context }) {
		const opened = await chosen.contribution.open(chosen.options, context);
		const source = options.layers ? keepLayers(opened, options.layers) : opened;
		const metadata = new Map([...source.schema.metadata, [META.command, context.command]]);
		// What a file said of its own rows is no longer so.
		metadata.delete(META.rows);
		if (source.rows !== undefined) metadata.set(META.rows, String(source.rows));
		const schema = new Schema(source.schema.fields, metadata);
		await writeOutput({ schema, batches: source.batches(options.start) }, options, context);
	},
});

/** `3,4,5` or `3 4 5`, as words or in a run file. */
function numbersOf(given: unknown): unknown {
	if (typeof given !== "string") return [given].flat();
	return given.split(/[ ,]+/).map((text) => readNumber(text) ?? text);
}
