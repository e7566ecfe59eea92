/** `sae train ARCHITECTURE`: a stream of activations in, a trained SAE in a folder, metrics on stdout. */
import { access, readdir, rm } from "node:fs/promises";
import { join } from "node:path";
import { DataType, type Schema } from "apache-arrow";
import { z } from "zod";
import { findVectorField } from "../../core/arrow/vectors.ts";
import { LAYER_COLUMN } from "../../core/columns.ts";
import { usageError } from "../../core/errors.ts";
import { TRAINER } from "../../core/train-saes.ts";
import { definePluginVerb } from "../command.ts";
import { columnOptions, evaluationOption, inputOption, openInput } from "../input.ts";
import { findContribution } from "../plugins.ts";
import { EXPANSION } from "../sae-spec.ts";

export default definePluginVerb({
	name: "train",
	summary: "trains sparse autoencoders on a stream of activations",
	details:
		"The SAE goes to the folder --out, metrics go to stdout, progress to stderr. A run that was killed goes on with " +
		"the same words plus --resume, and ends with the same bits.",
	examples: [
		{
			command:
				"sae activations file acts.npy --epochs 4 | sae train topk --d-sae 8192 --k 32 --tokens 1000000 --out my-sae",
		},
		{ command: "sae train topk acts.arrow --k 64 --out my-sae --checkpoint-every 1000 > metrics.arrow" },
		{
			command:
				"sae activations file acts.npy | sae train --sae topk:k=16 --sae topk:k=64,d-sae=8192 --out runs",
		},
		{ command: "sae train topk acts.arrow --config run.toml" },
	],
	plugin: {
		kind: "architecture",
		optional: true,
	},
	also: async () => [await findContribution("trainer", TRAINER)],
	positionals: [{ key: "input" }],
	options: z.object({
		input: inputOption,
		out: z
			.string()
			.min(1)
			.meta({ hint: "DIR" })
			.describe("Folder for the SAE, with its training state beside it"),
		d_sae: z
			.int()
			.min(1)
			.optional()
			.describe(`Latents; ${EXPANSION} times the width of the rows unless given`),
		sae: z
			.array(z.string())
			.default([])
			.meta({ hint: "SPEC" })
			.describe("An SAE of several on one stream, e.g. topk:k=16,d-sae=8192"),
		...columnOptions,
		per_layer: z
			.boolean()
			.default(false)
			.describe("One SAE for several layers: scale each layer's rows by themselves, by the column layer"),
		eval: evaluationOption,
		resume: z.boolean().default(false).describe("Go on from the training state in --out"),
		overwrite: z.boolean().default(false).describe("Start over where --out already holds a run"),
		init_from: z.string().optional().meta({ hint: "SAE" }).describe("Start from the weights of this SAE"),
		metrics: z
			.string()
			.optional()
			.meta({ hint: "FILE" })
			.describe("Write the metrics there instead of stdout"),
		format: z
			.enum(["arrow", "json", "csv", "table"])
			.optional()
			.describe("Form of the metrics; arrow when piped"),
		tensorboard: z
			.string()
			.optional()
			.meta({ hint: "DIR" })
			.describe("Also write metrics as TensorBoard events there"),
	}),
	async run({ options, chosen, also, context }) {
		if (chosen && options.sae.length > 0) {
			throw usageError("name one architecture after train, or several with --sae, not both");
		}
		if (!chosen && options.sae.length === 0) {
			throw usageError("which architecture? Write its name after the verb (sae train topk …), or use --sae");
		}
		const checkpoint = join(options.out, "training", "checkpoint.safetensors");
		const resume = await prepareFolder(options, checkpoint, context.log.info);
		const [{ singleJob, severalJobs }, { withMetrics }, { loadSae }] = await Promise.all([
			import("../train-jobs.ts"),
			import("../train-metrics.ts"),
			import("../../core/load.ts"),
		]);
		const stream = await openInput(options.input, ["activations"]);
		const initial = options.init_from === undefined ? undefined : await loadSae(options.init_from);
		const shared = {
			out: options.out,
			d_sae: options.d_sae ?? initial?.d_sae ?? defaultSize(stream.schema, options.column),
			...(initial ? { initial } : {}),
		};
		const saes = chosen
			? [singleJob(chosen.contribution, chosen.options, shared)]
			: await severalJobs(options.sae, shared);
		const [trainer] = also;
		if (trainer?.contribution.kind !== "trainer") throw new TypeError("there is no trainer");
		const { contribution, options: trainerOptions } = trainer;
		const sinks =
			options.tensorboard === undefined
				? []
				: [(await import("../../core/sinks/tensorboard.ts")).tensorboardSink(options.tensorboard)];
		await withMetrics({ out: options.metrics, format: options.format }, sinks, context, async (report) =>
			contribution.train(
				{
					stream,
					evaluation: options.eval === undefined ? undefined : await openInput(options.eval, ["activations"]),
					saes,
					checkpoint,
					resume,
					report,
					columns: options.column,
					targets: options.target,
					layers: options.per_layer ? LAYER_COLUMN : undefined,
				},
				trainerOptions,
				context,
			),
		);
		context.log.info(`${saes.length === 1 ? "the SAE is" : `${saes.length} SAEs are`} in ${options.out}`);
	},
});

/** Latents for the vectors of a stream. @throws where only rows say how wide they are, as those of polars do. */
function defaultSize(schema: Schema, columns: readonly string[] | undefined): number {
	const fields = columns
		? columns.map((column) => findVectorField(schema, column))
		: [findVectorField(schema)];
	const widths = fields.map(({ name, type }) => {
		if (DataType.isFixedSizeList(type)) return type.listSize;
		throw usageError(
			`--d-sae is required: column ${name} is ${type}, which does not say how wide its vectors are`,
		);
	});
	return EXPANSION * widths.reduce((sum, width) => sum + width);
}

/** Whether there is a state to resume; refuses to write over a run that nobody said may go. */
async function prepareFolder(
	options: { readonly out: string; readonly resume: boolean; readonly overwrite: boolean },
	checkpoint: string,
	say: (message: string) => void,
): Promise<boolean> {
	const exists = (path: string) =>
		access(path).then(
			() => true,
			() => false,
		);
	if (options.resume) {
		const there = await exists(checkpoint);
		if (!there) say(`${options.out} holds no training state yet: starting from the beginning`);
		return there;
	}
	const files = await readdir(options.out).catch(() => []);
	if (files.length > 0 && !options.overwrite) {
		throw usageError(`${options.out} is not empty: --resume continues its run, --overwrite starts over`);
	}
	await rm(join(options.out, "training"), { recursive: true, force: true });
	return false;
}
