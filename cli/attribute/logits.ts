/** `sae attribute logits SAE`: the tokens that latents write to directly, as a stream of features. */
import {
	Field,
	Float32,
	List,
	type RecordBatch,
	type Schema,
	Struct,
	Uint32,
	Utf8,
	vectorFromArray,
} from "apache-arrow";
import { z } from "zod";
import { makeBatch } from "../../core/arrow/batch.ts";
import type { Context } from "../../core/plugin.ts";
import { each, type RecordStream } from "../../core/stream.ts";
import { defineVerb } from "../command.ts";
import { outputOptions, writeOutput } from "../output.ts";
import { checkLatents, latentOptions } from "./options.ts";
import { schemaOf } from "./stream.ts";

const options = z.object({
	...latentOptions,
	latent: z.array(z.int().min(0)).optional().describe("Only this latent; repeated for several"),
	top: z.int().min(1).default(10).describe("Tokens at either end"),
	...outputOptions,
});

type Options = z.output<typeof options>;

export default defineVerb({
	name: "attribute logits",
	summary: "tokens that latents make more and less likely, directly",
	details:
		"The latent's decoder row, through the final norm's weight and the unembedding. What later layers make of it is " +
		"not in it, and the norm's division by a scale, which every token has of its own, is left out.",
	examples: [{ command: "sae attribute logits my-sae --model openai-community/gpt2 --latent 17 --top 5" }],
	positionals: [{ key: "sae" }],
	options,
	async run({ options, context }) {
		await writeOutput(await attributed(options, context), options, context);
	},
});

async function attributed(options: Options, context: Context): Promise<RecordStream> {
	const { extremeTokens, findModel, openLogitAttribution, placeSae, readModelSpec, tokenizerIfAny } =
		await import("../../core/model/index.ts");
	const folder = await findModel(options.model, context.log);
	const spec = await readModelSpec(folder);
	const model = await context.loadSae(options.sae);
	const { writes } = placeSae(spec, model, options.hook_point);
	const latents = options.latent ?? [...Array(model.d_sae).keys()];
	checkLatents(latents, model);
	const tokenizer = await tokenizerIfAny(folder);
	const [point, ...others] = writes as [(typeof writes)[number], ...typeof writes];
	if (others.length > 0)
		context.log.warn(`of ${writes.length} hook points, logits are those of ${point.name}`);
	const schema = featuresSchema(options, context);
	const attribution = await openLogitAttribution(await context.gpu(), folder, spec, point);
	const W_dec = model.tensors.W_dec!.data;
	const width = W_dec.length / model.d_sae;
	const directions = new Float32Array(latents.length * point.width);
	for (const [row, latent] of latents.entries()) {
		directions.set(W_dec.subarray(latent * width, latent * width + point.width), row * point.width);
	}
	const tokens = (logits: Float32Array, sign: 1 | -1) =>
		extremeTokens(logits, options.top, sign).map((one) => ({
			...one,
			text: tokenizer ? tokenizer.decode([one.token]) : null,
		}));
	const batches: RecordBatch[] = [];
	try {
		await attribution.each(directions, (logits, first, count) => {
			context.signal.throwIfAborted();
			const rows = Array.from({ length: count }, (_, i) =>
				logits.subarray(i * attribution.vocab, (i + 1) * attribution.vocab),
			);
			const columns = [
				latents.slice(first, first + count),
				rows.map((row) => tokens(row, 1)),
				rows.map((row) => tokens(row, -1)),
			].map((values, i) => vectorFromArray(values as never[], schema.fields[i]!.type).data[0]!);
			batches.push(makeBatch(schema, count, columns));
		});
	} finally {
		attribution.close();
	}
	return { schema, batches: each(batches) };
}

function featuresSchema({ model }: Options, context: Context): Schema {
	const token = new Struct<{ token: Uint32; text: Utf8; logit: Float32 }>([
		new Field("token", new Uint32(), false),
		new Field("text", new Utf8(), true),
		new Field("logit", new Float32(), false),
	]);
	const list = new List(new Field("item", token, false));
	const fields = [
		new Field("latent", new Uint32(), false),
		new Field("top_logits", list, false),
		new Field("bottom_logits", list, false),
	];
	return schemaOf("features", fields, model, context);
}
