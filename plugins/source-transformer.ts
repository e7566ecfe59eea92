/** `sae activations transformer`: activations of a language model, at named points of its forward pass. */
import type { ActivationSource, Context, Core, SourceContribution, TextInput } from "saeflow";
import { definePlugin } from "saeflow";
import type { z } from "zod";
import { harvest } from "./transformer/harvest.ts";
import { planOutput } from "./transformer/output.ts";
import { replayed } from "./transformer/replay.ts";

export default definePlugin({
	name: "transformer",
	apiVersion: 1,
	contributes: (core) => [transformerSource(core)],
});

function transformerOptions({ z, textOptions, modelOption, batchTokensOption, partOption }: Core) {
	return z.object({
		model: modelOption,
		hook_point: z
			.array(z.string())
			.min(1)
			.meta({ hint: "NAME" })
			.describe(
				"Where to look: blocks.2.hook_resid_post, or a module such as model.layers.2.mlp; several give several columns, and * stands for every layer",
			),
		layer_rows: z
			.boolean()
			.default(false)
			.describe("Several hook points give a row each, with a column layer, instead of a column each"),
		...textOptions,
		shard: partOption,
		drop_special: z
			.boolean()
			.default(false)
			.describe("The model sees special tokens (BOS, EOS, padding), but they give no rows"),
		dtype: z.enum(["float32", "float16"]).default("float32").describe("Numbers of the stream"),
		precision: z
			.enum(["float32", "half"])
			.default("float32")
			.describe(
				"half: what tensor cores multiply is rounded to float16, sums are float32; without tensor cores nothing is",
			),
		batch_tokens: batchTokensOption,
		limit: z.int().min(0).optional().describe("Stop after this many rows"),
		epochs: z
			.int()
			.min(1)
			.default(1)
			.describe("How many times to give those rows; the model runs once, and they stay in memory"),
	});
}

export type Options = z.infer<ReturnType<typeof transformerOptions>>;

function transformerSource(core: Core): SourceContribution<Options> {
	return {
		kind: "source",
		name: "transformer",
		summary:
			"a language model's activations: GPT-2, GPT-NeoX, Llama, Qwen 2 or Gemma 2, over text or token ids",
		options: transformerOptions(core),
		positional: { key: "model", variadic: false },
		open: (options, context) => openModel(core, options, context),
	};
}

async function openModel(core: Core, options: Options, context: Context): Promise<ActivationSource> {
	const part = core.partOf(options.shard, context.log);
	const folder = await core.findModel(options.model, context.log);
	const spec = await core.readModelSpec(folder);
	const names = options.hook_point.flatMap((name) => core.expandLayers(spec, name));
	const points = names.map((name) => ({ column: name, point: core.findHookPoint(spec, name) }));
	const text = await core.openText(folder, spec, options, part);
	const output = planOutput(core, points, {
		layerRows: options.layer_rows,
		type: options.dtype,
		metadata: {
			[core.META.model]: options.model,
			[core.META.hookPoint]: names.join(","),
			...(text.tokenizer && { [core.META.tokenizer]: text.tokenizer.identity }),
			[core.META.command]: context.command,
			...(options.epochs > 1 && { [core.META.epochs]: String(options.epochs) }),
			...core.partMetadata(part),
		},
	});
	// Only the layers that a hook point lies in, and the final norm when it is one.
	const last = points.map(({ point }) => point);
	const head = last.some(({ name }) => name.startsWith("ln_final"));
	const layers = head ? spec.layers.length : Math.max(0, ...last.map(({ layer }) => (layer ?? -1) + 1));
	const drop = options.drop_special ? text.special : new Set<number>();
	const limit = options.limit ?? Number.POSITIVE_INFINITY;
	const rowsFrom = (start: number) =>
		harvest(core, {
			open: async () => {
				const gpu = await context.gpu();
				if (options.precision === "half" && !gpu.halfProduct)
					context.log.warn("no tensor cores here: --precision half changes nothing");
				return core.openTransformer(folder, {
					gpu,
					layers,
					head,
					context: text.length,
					precision: options.precision,
					...(options.batch_tokens && { rows: Math.max(options.batch_tokens, text.length) }),
				});
			},
			contexts: text.contexts(),
			output,
			start,
			limit,
			drop,
			log: context.log,
		});
	// Of text nobody knows before it is tokenized, nor of what comes through a pipe before it has come.
	const known = options.tokens && !options.tokens.includes("-");
	const once = known ? await countRows(text, output.perToken, drop, limit) : undefined;
	return {
		schema: output.schema,
		...(once !== undefined && { rows: once * options.epochs }),
		batches: (start) =>
			options.epochs === 1 ? rowsFrom(start) : replayed(core, () => rowsFrom(0), options.epochs, start),
	};
}

/** Rows that token ids ready made will give. */
async function countRows(
	{ contexts }: TextInput,
	perToken: number,
	drop: ReadonlySet<number>,
	limit: number,
): Promise<number> {
	let rows = 0;
	for await (const { tokens } of contexts()) {
		for (const token of tokens) if (!drop.has(token)) rows += perToken;
		if (rows >= limit) return limit;
	}
	return rows;
}
