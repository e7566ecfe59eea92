/** `sae interpret INTERPRETER`: what latents stand for, and how well that is said. */
import { z } from "zod";
import type { Context } from "../../core/plugin.ts";
import { type Chosen, definePluginVerb } from "../command.ts";
import { inputOption } from "../input.ts";
import { latentRanges } from "../interpret/ranges.ts";
import type { Repeatable } from "../interpret/repeatable.ts";
import { outputOptions, writeOutput } from "../output.ts";

const options = z.object({
	input: inputOption,
	latents: latentRanges
		.optional()
		.meta({ hint: "N,A:B,..." })
		.describe("Latents to explain, B exclusive; all by default. Of others the stream's explanations stay"),
	sample: z.int().min(1).optional().meta({ hint: "N" }).describe("Explain so many of them, drawn at random"),
	sample_seed: z.int().min(0).max(0xffffffff).default(0).describe("Seed of that draw"),
	min_count: z
		.int()
		.min(0)
		.default(1)
		.meta({ hint: "ROWS" })
		.describe("Explain only latents that are active on at least so many rows"),
	...outputOptions,
});

type Options = z.output<typeof options>;

export default definePluginVerb({
	name: "interpret",
	summary: "explains latents by their examples, and judges the explanations",
	details:
		"Reads what `sae features` writes, and adds the columns explanation, explanation_source and scores. Explanations are " +
		"judged on passages that they were not made of. `sae report features` and `sae export neuronpedia` show them.",
	examples: [
		{
			command: "sae interpret ngram features.arrow --out explained.arrow",
			note: "rules of tokens, without a server",
		},
		{
			command:
				"sae interpret llm features.arrow --base-url http://localhost:11434/v1 --model gemma3:12b --sample 200 --out explained.arrow",
		},
		{
			command: "sae interpret llm explained.arrow --given --base-url http://localhost:8000/v1 --model judge",
			note: "judge the explanations that are there",
		},
	],
	plugin: { kind: "interpreter", optional: false },
	positionals: [{ key: "input" }],
	options,
	async run({ options, chosen, context }) {
		const { openRepeatable } = await import("../interpret/repeatable.ts");
		const features = await openRepeatable(options.input, ["features"], context.signal);
		try {
			await interpret(features, chosen, options, context);
		} finally {
			await features.close();
		}
	},
});

async function interpret(
	features: Repeatable,
	{ contribution, options: own }: Chosen<"interpreter">,
	options: Options,
	context: Context,
): Promise<void> {
	const [{ interpretedStream, latentsToExplain }, { survey }] = await Promise.all([
		import("../../core/interpret/interpreted.ts"),
		import("../interpret/survey.ts"),
	]);
	const { log, signal, command } = context;
	const { pool, wanted } = await survey(await features.open(), options, context);
	const stream = await features.open();
	async function* latents() {
		for await (const batch of (await features.open()).batches) {
			signal.throwIfAborted();
			yield* latentsToExplain(batch, (latent) => wanted.has(latent));
		}
	}
	const interpreter = await contribution.open({ schema: stream.schema, pool, latents }, own, context);
	if (!interpreter) return;
	let explained = 0;
	const done = () => log.progress(`${++explained} of ${wanted.size} latents`);
	try {
		const interpreted = interpretedStream(stream, interpreter, (latent) => wanted.has(latent), {
			command,
			done,
		});
		await writeOutput(interpreted, options, context);
	} finally {
		await interpreter.close?.();
	}
}
