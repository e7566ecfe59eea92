/** `sae sweep`: SAEs of many settings on one stream, and a table that compares them. */
import { readdir } from "node:fs/promises";
import { join } from "node:path";
import { z } from "zod";
import { usageError } from "../../core/errors.ts";
import type { TrainerContribution } from "../../core/plugin.ts";
import { META } from "../../core/stream.ts";
import { TRAINER } from "../../core/train-saes.ts";
import { defineVerb } from "../command.ts";
import { columnOptions, evaluationOption, inputOption } from "../input.ts";
import { outputOptions, withOutput } from "../output.ts";
import { findContribution } from "../plugins.ts";
import { EXPANSION } from "../sae-spec.ts";
import { expandGrid, numbers } from "../sweep/grid.ts";

export default defineVerb({
	name: "sweep",
	summary: "trains sparse autoencoders of many settings on one stream, and compares them",
	details:
		"Every combination of the comma-separated values is trained, as many at once as fit into memory, and each " +
		"becomes what it would be alone. An --sae is an architecture with its options as for sae train; values in it win " +
		"over the lists beside it. The SAEs go to folders in --out, the table, a row each, to stdout. A sweep that was " +
		"killed goes on with the same words plus --resume, which may also ask for more SAEs.",
	examples: [
		{
			command: "sae sweep acts.arrow --sae 'topk --k 8,16,32' --d-sae 2048,8192 --tokens 1M --out runs",
		},
		{
			command:
				"sae sweep acts.arrow --sae 'topk --k 16' --lr 3e-4,1e-3,3e-3 --seed 0,1 --tokens 1M --eval-rows 8k \\\n" +
				"  --out runs | sae report pareto --out pareto.html",
		},
		{
			command:
				"sae sweep acts.arrow --column mlp_in --target mlp_out --sae 'transcoder --k 16,32 --skip' --tokens 1M --out runs",
		},
	],
	positionals: [{ key: "input" }],
	also: async () => [await sweptTrainer()],
	options: z.object({
		input: inputOption,
		out: z.string().min(1).meta({ hint: "DIR" }).describe("Folder for the SAEs and the state of the sweep"),
		sae: z
			.array(z.string().min(1))
			.min(1)
			.meta({ hint: "SPEC" })
			.describe("An architecture and its options, e.g. 'topk --k 8,16'"),
		d_sae: numbers(z.int().min(1))
			.optional()
			.meta({ hint: "N,..." })
			.describe(`Latents; ${EXPANSION} times the width of the rows unless given`),
		lr: numbers(z.number().positive())
			.default([])
			.meta({ hint: "X,..." })
			.describe("Learning rates; by default the trainer's for each d_sae"),
		seed: numbers(z.int().min(0))
			.default([0])
			.meta({ hint: "N,..." })
			.describe("Seeds of the initial weights; the first one also orders the rows, for all"),
		memory: z
			.number()
			.positive()
			.optional()
			.meta({ hint: "BYTES" })
			.describe("Device memory to fill, e.g. 16G; by default most of what seems to be free"),
		...columnOptions,
		eval: evaluationOption,
		resume: z.boolean().default(false).describe("Go on with the sweep in --out"),
		overwrite: z.boolean().default(false).describe("Start over where --out already holds a sweep"),
		metrics: outputOptions.out,
		format: outputOptions.format,
	}),
	async run({ options, also, context }) {
		const [trainer] = also;
		if (trainer?.contribution.kind !== "trainer") throw new TypeError("there is no trainer");
		const [
			{ tableBatch, tableSchema },
			{ openSweepInput },
			{ resultColumns, resultRow },
			{ runSweep },
			{ removeState },
		] = await Promise.all([
			import("../../core/arrow/metrics.ts"),
			import("../sweep/input.ts"),
			import("../sweep/results.ts"),
			import("../sweep/run.ts"),
			import("../sweep/state.ts"),
		]);
		const { out, memory, resume } = options;
		if (!resume && !options.overwrite && (await readdir(out).catch(() => [])).length > 0) {
			throw usageError(`${out} is not empty: --resume continues its sweep, --overwrite starts over`);
		}
		const input = await openSweepInput(options.input, {
			columns: options.column,
			targets: options.target,
		});
		const { saes, varied } = await expandGrid(options.sae, {
			d_sae: options.d_sae ?? [EXPANSION * input.widths.inputs.reduce((sum, width) => sum + width)],
			seed: options.seed,
			lr: options.lr,
		});
		if (options.overwrite) await removeState(out);
		const { finished, failures } = await runSweep({
			folder: out,
			input,
			evaluation: options.eval,
			saes,
			trainer: trainer.contribution,
			options: { ...(trainer.options as object), seed: options.seed[0]! },
			memory,
			resume,
			context,
		});
		const rows = saes.flatMap((sae) => {
			const log = finished.get(sae.name);
			return log ? [resultRow(sae, varied, log, join(out, sae.name))] : [];
		});
		const schema = tableSchema(resultColumns(rows, varied), "metrics", { [META.command]: context.command });
		await withOutput(schema, { out: options.metrics, format: options.format }, (writer) =>
			writer.write(tableBatch(schema, rows)),
		);
		if (!context.signal.aborted) failures.throwIfAny(saes.length);
	},
});

/** The trainer, whose learning rate and seed are axes of the sweep instead. */
async function sweptTrainer(): Promise<TrainerContribution> {
	const trainer = await findContribution("trainer", TRAINER);
	const { options } = trainer;
	if (!(options instanceof z.ZodObject)) throw new TypeError("the trainer's options are no zod object");
	return { ...trainer, options: options.omit({ lr: true, seed: true }) };
}
