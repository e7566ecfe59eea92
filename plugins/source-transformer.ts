/** `sae activations transformer`: activations of a language model, at named points of its forward pass. */
import type { ActivationSource, Context, Core, SourceContribution } from "saeflow";
import { definePlugin } from "saeflow";
import type { z } from "zod";
import { contextsOf, type Packing, type Context as Tokens, windowsOf } from "./transformer/contexts.ts";
import { readDocuments } from "./transformer/documents.ts";
import { harvest } from "./transformer/harvest.ts";
import { planOutput } from "./transformer/output.ts";
import { readTokenFiles } from "./transformer/token-files.ts";

export default definePlugin({
	name: "transformer",
	apiVersion: 1,
	contributes: (core) => [transformerSource(core)],
});

function transformerOptions({ z }: Core) {
	return z.object({
		model: z.string().describe("Folder in Hugging Face's layout, or a Hub id such as openai-community/gpt2"),
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
		tokens: z
			.array(z.string())
			.optional()
			.meta({ hint: "FILE" })
			.describe("Token ids ready made: an array [batch, position] or [tokens], or an Arrow column of lists"),
		tokens_name: z.string().default("input_ids").describe("That array or column"),
		text: z
			.array(z.string())
			.optional()
			.meta({ hint: "FILE" })
			.describe("Text to read, - for stdin: plain, JSON lines, Arrow or Parquet"),
		text_format: z
			.enum(["auto", "plain", "jsonl", "arrow", "parquet"])
			.default("auto")
			.describe("What the text files are; auto goes by their content and the ending .jsonl"),
		text_field: z.string().default("text").describe("Field or column that holds the text"),
		delimiter: z
			.string()
			.min(1)
			.optional()
			.meta({ hint: "TEXT" })
			.describe("What ends each document of a plain text file; else a file is a document"),
		packing: z
			.enum(["pack", "document"])
			.default("pack")
			.describe("Fill each context with documents one after the other, or begin one with each document"),
		separator: z
			.enum(["eos", "none"])
			.default("eos")
			.describe("What follows each document when they are packed"),
		bos: z
			.enum(["auto", "always", "never"])
			.default("auto")
			.describe("Whether each context of text begins with the BOS token; auto does as the tokenizer does"),
		context: z
			.int()
			.min(1)
			.optional()
			.describe("Tokens of a context at most; the model's, but not over 1024, unless given"),
		drop_special: z
			.boolean()
			.default(false)
			.describe("The model sees special tokens (BOS, EOS, padding), but they give no rows"),
		dtype: z.enum(["float32", "float16"]).default("float32").describe("Numbers of the stream"),
		batch_tokens: z
			.int()
			.min(1)
			.max(1_000_000)
			.optional()
			.describe("Tokens that the device works on at a time"),
		limit: z.int().min(0).optional().describe("Stop after this many rows"),
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
	if ((options.tokens === undefined) === (options.text === undefined)) {
		throw core.usageError("give either --tokens FILE or --text FILE");
	}
	const folder = await core.findModel(options.model, context.log);
	const spec = await core.readModelSpec(folder);
	const names = options.hook_point.flatMap((name) => core.expandLayers(spec, name));
	const points = names.map((name) => ({ column: name, point: core.findHookPoint(spec, name) }));
	const length = options.context ?? Math.min(spec.context, 1024);
	if (length > spec.context) {
		throw core.usageError(`--context ${length}: the model was made for ${spec.context} positions`);
	}
	const tokenizer = options.text ? await core.openTokenizer(folder) : undefined;
	const special = new Set([...(tokenizer?.special ?? []), ...spec.eos]);
	for (const id of [spec.bos, spec.pad]) if (id !== undefined) special.add(id);
	const contexts = (): AsyncIterable<Tokens> => {
		if (!options.text)
			return windowsOf(readTokenFiles(core, options.tokens!, options.tokens_name), length, spec.pad);
		const packing = packingOf(core, options, length, spec, tokenizer!);
		const documents = readDocuments(core, options.text, {
			format: options.text_format,
			field: options.text_field,
			delimiter: options.delimiter,
		});
		return contextsOf(documents, tokenizer!, packing);
	};
	const output = planOutput(core, points, {
		layerRows: options.layer_rows,
		type: options.dtype,
		metadata: {
			[core.META.model]: options.model,
			[core.META.hookPoint]: names.join(","),
			...(tokenizer && { [core.META.tokenizer]: tokenizer.identity }),
			[core.META.command]: context.command,
		},
	});
	// Only the layers that a hook point lies in, and the final norm when it is one.
	const last = points.map(({ point }) => point);
	const head = last.some(({ name }) => name.startsWith("ln_final"));
	const layers = head ? spec.layers.length : Math.max(0, ...last.map(({ layer }) => (layer ?? -1) + 1));
	return {
		schema: output.schema,
		batches: (start) =>
			harvest(core, {
				open: async () =>
					core.openTransformer(folder, {
						gpu: await context.gpu(),
						layers,
						head,
						context: length,
						...(options.batch_tokens && { rows: Math.max(options.batch_tokens, length) }),
					}),
				contexts: contexts(),
				output,
				start,
				limit: options.limit ?? Number.POSITIVE_INFINITY,
				drop: options.drop_special ? special : new Set(),
				log: context.log,
			}),
	};
}

function packingOf(
	core: Core,
	options: Options,
	length: number,
	spec: { readonly bos: number | undefined; readonly eos: readonly number[] },
	tokenizer: {
		readonly bos: number | undefined;
		readonly eos: number | undefined;
		readonly addsBos: boolean;
	},
): Packing {
	const bos = tokenizer.bos ?? spec.bos;
	const wantsBos = options.bos === "always" || (options.bos === "auto" && tokenizer.addsBos);
	if (options.bos === "always" && bos === undefined) {
		throw core.usageError("--bos always: neither the tokenizer nor config.json names a BOS token");
	}
	const eos = options.separator === "eos" ? (tokenizer.eos ?? spec.eos[0]) : undefined;
	if (options.packing === "pack" && options.separator === "eos" && eos === undefined) {
		throw core.usageError(
			"--separator eos: neither the tokenizer nor config.json names an EOS token; choose --separator none",
		);
	}
	if (wantsBos && length < 2) throw core.usageError("--context 1 leaves no room beside the BOS token");
	return {
		length,
		bos: wantsBos ? bos : undefined,
		separator: options.packing === "pack" ? eos : undefined,
		pack: options.packing === "pack",
	};
}
