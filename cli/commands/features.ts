/** `sae features SAE`: what there is to know of each latent, as a stream of features. */
import { z } from "zod";
import { columnNames } from "../../core/columns.ts";
import { usageError } from "../../core/errors.ts";
import type { FeatureParts } from "../../core/features/features.ts";
import { modelOption } from "../../core/model/options.ts";
import type { Context } from "../../core/plugin.ts";
import type { SaeModel } from "../../core/sae.ts";
import { commandsAfter, META, type RecordStream, repeats } from "../../core/stream.ts";
import { defineVerb } from "../command.ts";
import { type LanguageModel, languageModel } from "../features/language-model.ts";
import { forTheEye } from "../features/table.ts";
import { openInput } from "../input.ts";
import { formatOf, outputOptions, writeOutput } from "../output.ts";
import { saeOptions, saePositionals } from "../sae.ts";

const options = z.object({
	...saeOptions,
	model: modelOption
		.optional()
		.meta({ hint: "MODEL" })
		.describe(
			"Language model that the rows are from, for texts of tokens and for logits: a folder or a Hub id; by default the one that the stream names, if it is on this machine",
		),
	hook_point: z
		.string()
		.optional()
		.meta({ hint: "NAME" })
		.describe("Where the SAE belongs; by default what it was trained on"),
	column: columnNames
		.optional()
		.meta({ hint: "NAME,..." })
		.describe("Columns of vectors; by default those that the SAE was trained on, or the only one there is"),
	k: z.int().min(1).optional().describe("Latents per row, instead of the SAE's own k"),
	limit: z.int().min(1).optional().meta({ hint: "ROWS" }).describe("Rows to look at; all by default"),
	examples: z.int().min(0).max(1000).default(20).describe("Rows of the largest activations, per latent"),
	samples: z
		.int()
		.min(0)
		.max(1000)
		.default(25)
		.describe("Rows drawn at random among all on which a latent is active"),
	before: z.int().min(0).max(1000).default(24).describe("Rows of context before an example's own"),
	after: z.int().min(0).max(1000).default(7).describe("Rows of context after it"),
	logits: z.int().min(0).max(1000).default(10).describe("Tokens that a latent raises most, and lowers most"),
	nearest: z.int().min(0).max(1000).default(10).describe("Latents whose decoder rows point the same way"),
	cooccurring: z.int().min(0).max(1000).default(10).describe("Latents that are active on the same rows"),
	sketch: z
		.int()
		.min(16)
		.max(4096)
		.default(256)
		.describe("Rows per latent that co-occurrence is estimated from, with more than 4096 latents"),
	seed: z.int().min(0).max(0xffffffff).default(0).describe("Seed of the samples"),
	memory: z
		.number()
		.positive()
		.default(4)
		.meta({ hint: "GB" })
		.describe("Refuse what would take more memory"),
	...outputOptions,
});

type Options = z.output<typeof options>;

export default defineVerb({
	name: "features",
	summary: "collects what there is to know of each latent, in one pass",
	details:
		"Of every latent: how often and how strongly it is active, the rows on which it is most active and some drawn at " +
		"random, each with the rows around it, the tokens that it makes more and less likely, and the latents that are near " +
		"it or active together with it. Reads activations, or latents that are encoded already. What `sae report features`, " +
		"`sae interpret` and `sae export neuronpedia` start from.",
	examples: [
		{ command: "sae features my-sae acts.arrow --out features.arrow" },
		{
			command:
				"sae activations transformer openai-community/gpt2 --hook-point blocks.6.hook_resid_pre --text some.txt | sae features my-sae --format json",
		},
	],
	positionals: saePositionals,
	options,
	async run({ options, context }) {
		const model = await context.loadSae(options.sae);
		const input = await openInput(options.input, ["activations", "latents"]);
		const { featuresStream } = await import("../../core/features/features.ts");
		const { parts, language } = await partsOf(model, input, options, context);
		const stream = featuresStream(parts, provenance(input, options, language, context));
		const shown = formatOf(options) === "table" ? forTheEye(stream) : stream;
		await writeOutput(shown, options, context);
	},
});

async function partsOf(model: SaeModel, input: RecordStream, options: Options, context: Context) {
	const [{ decoderRows, encoderDecoderCosines }, { latentLogits }, { nearestLatents }, { tokenTexts }] =
		await Promise.all([
			import("../../core/features/decoder.ts"),
			import("../../core/features/logits.ts"),
			import("../../core/features/nearest.ts"),
			import("../../core/features/pieces.ts"),
		]);
	const { d_sae } = model;
	const { log, signal } = context;
	// Before the pass, so that what is wrong shows at once.
	const language = await languageModel(model, input.schema, options, context);
	const collected = await collect(model, input, options, context);
	const progress = (what: string) => (latents: number) => {
		signal.throwIfAborted();
		log.progress(`${what}: ${latents} of ${d_sae} latents`);
	};
	const rows = decoderRows(model);
	const nearest =
		options.nearest > 0
			? await nearestLatents(await context.gpu(), rows, options.nearest, progress("nearest"))
			: undefined;
	const attribution = await language?.openLogits?.();
	const logits =
		attribution &&
		(await latentLogits(
			attribution.logits,
			attribution.directions,
			d_sae,
			options.logits,
			progress("logits"),
		).finally(() => attribution.logits.close()));
	const { tokenizer } = language ?? {};
	const parts: FeatureParts = {
		collected,
		norms: rows.norms,
		encoderDecoderCosines: encoderDecoderCosines(model, rows),
		nearest,
		logits,
		texts: tokenizer && tokenTexts((ids) => tokenizer.decode(ids)),
		cooccurring: options.cooccurring,
	};
	return { parts, language };
}

/** The pass over the stream. */
async function collect(model: SaeModel, input: RecordStream, options: Options, context: Context) {
	const [{ collectFeatures, collectorOptions }, { checkMemory }, { encodeStream }] = await Promise.all([
		import("../../core/features/collect.ts"),
		import("../../core/features/memory.ts"),
		import("../../core/latents.ts"),
	]);
	const { log, signal } = context;
	const collecting = {
		...options,
		d_sae: model.d_sae,
		sketch: options.cooccurring > 0 ? options.sketch : 0,
	};
	checkMemory(collectorOptions(input, collecting), options.memory * 1e9);
	if (repeats(input.schema))
		log.warn("the stream has the same rows more than once, and so will the examples");
	const isEncoded = input.schema.fields.some(({ name }) => name === "latents");
	if (isEncoded && (options.k ?? options.column) !== undefined) {
		throw usageError("--k and --column are for activations, but the stream is of latents");
	}
	const runtime = isEncoded ? undefined : await context.openSae(model, { k: options.k });
	const { column: columns, limit } = options;
	const latents = runtime ? encodeStream(input, model, runtime, { columns }) : input;
	const began = performance.now();
	const rate = (rows: number) => Math.round((1000 * rows) / (performance.now() - began)).toLocaleString("en");
	try {
		const collected = await collectFeatures(latents, collecting, {
			limit,
			signal,
			seen: (rows) => log.progress(`${rows.toLocaleString("en")} rows, ${rate(rows)} rows/s`),
		});
		const { rows, records } = collected;
		const seconds = ((performance.now() - began) / 1000).toFixed(1);
		// In KiB.
		const peak = (process.resourceUsage().maxRSS / 2 ** 20).toFixed(1);
		const never = records.counts.filter((count) => count === 0).length;
		log.info(
			`${rows.toLocaleString("en")} rows in ${seconds} s (${rate(rows)} rows/s, ${peak} GiB of memory at most); ` +
				`${never} of ${model.d_sae} latents were never active`,
		);
		return collected;
	} finally {
		runtime?.close();
	}
}

function provenance(
	{ schema: { metadata } }: RecordStream,
	options: Options,
	language: LanguageModel | undefined,
	{ command }: Context,
): Map<string, string> {
	const known = {
		[META.sae]: options.sae,
		[META.model]: options.model ?? metadata.get(META.model),
		[META.hookPoint]: language?.hookPoint ?? options.hook_point ?? metadata.get(META.hookPoint),
		[META.tokenizer]: language?.tokenizer?.identity ?? metadata.get(META.tokenizer),
		[META.command]: commandsAfter(metadata, command),
	};
	return new Map(Object.entries(known).filter((entry): entry is [string, string] => entry[1] !== undefined));
}
