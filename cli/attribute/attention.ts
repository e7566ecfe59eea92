/** `sae attribute attention SAE`: heads and source positions that latents get their activations from. */
import { Field, Float32, type RecordBatch, type Schema, Uint32, Utf8, vectorFromArray } from "apache-arrow";
import { z } from "zod";
import { vectorData, vectorField } from "../../core/arrow/activations.ts";
import { makeBatch } from "../../core/arrow/batch.ts";
import { usageError } from "../../core/errors.ts";
import type { PassTokens, TextTokenizer, Transformer } from "../../core/model/index.ts";
import { skipOption } from "../../core/model/options.ts";
import { textOptions } from "../../core/model/text/input.ts";
import type { Context } from "../../core/plugin.ts";
import type { SaeRuntime } from "../../core/runtime.ts";
import { each, type RecordStream } from "../../core/stream.ts";
import { defineVerb } from "../command.ts";
import { outputOptions, writeOutput } from "../output.ts";
import { checkLatents, latentOptions } from "./options.ts";
import { schemaOf } from "./stream.ts";

const options = z.object({
	...latentOptions,
	latent: z.array(z.int().min(0)).min(1).describe("The latent; repeated for several"),
	top: z.int().min(1).default(3).describe("Places of the text, those where the latent is most active"),
	...textOptions,
	skip: skipOption,
	limit: z.int().min(1).default(4096).describe("Tokens to look at at most"),
	...outputOptions,
});

type Options = z.output<typeof options>;

export default defineVerb({
	name: "attribute attention",
	summary: "heads and source positions that latents of attention outputs are from",
	details:
		"For SAEs on attn.hook_z or the attention's output. A row for each source position of each place where a latent " +
		"is most active: `attribution` is what came from there, `heads` the same by head. Together they are the " +
		"pre-activation, but for biases.",
	examples: [
		{ command: "sae attribute attention z-sae --model openai-community/gpt2 --latent 17 --text some.txt" },
	],
	positionals: [{ key: "sae" }],
	options,
	async run({ options, context }) {
		await writeOutput(await attributed(options, context), options, context);
	},
});

/** A place where a latent is active. */
interface Firing {
	readonly latent: number;
	readonly activation: number;
	/** Number of the pass, and row in it. */
	readonly pass: number;
	readonly row: number;
}

async function attributed(options: Options, context: Context): Promise<RecordStream> {
	const core = await import("../../core/model/index.ts");
	const folder = await core.findModel(options.model, context.log);
	const spec = await core.readModelSpec(folder);
	const text = await core.openText(folder, spec, options);
	const contexts = await core.firstContexts(text.contexts(), options);
	const sae = await context.loadSae(options.sae);
	const { reads } = core.placeSae(spec, sae, options.hook_point);
	if (reads.length > 1) throw usageError("attention is attributed for SAEs of one hook point");
	const point = reads[0]!;
	const latents = [...new Set(options.latent)];
	checkLatents(latents, sae);
	const directions = await core.attentionDirections(folder, spec, point, sae, latents);
	const layer = point.layer!;
	const runtime = await context.openSae(sae);
	const sizes = { context: text.length, layers: layer + 1, head: false };
	const model = await core.openTransformer(folder, { gpu: await context.gpu(), ...sizes });
	const schema = attributionSchema(spec.heads, options, context);
	const tokenizer = text.tokenizer ?? (await core.tokenizerIfAny(folder));
	const batches: RecordBatch[] = [];
	try {
		const passes = await Array.fromAsync(core.packPasses(contexts, model.rows));
		const firings = await strongest(model, runtime, passes, point.name, latents, options.top, context);
		for (const firing of firings) {
			const pass = passes[firing.pass]!;
			const first = firing.row - pass.positions[firing.row]!;
			const count = firing.row - first + 1;
			// What comes after the place has no part in it.
			const batch = { tokens: pass.tokens.slice(first, firing.row + 1), sequences: [{ length: count }] };
			const rows = await core.readAttention(model, batch, layer);
			const direction = directions[latents.indexOf(firing.latent)]!;
			const parts = core.attributeAttention(spec, layer, rows, direction, count - 1);
			const columns = sourceRows(firing, pass, first, parts, spec.heads, tokenizer);
			const data = columns.map(
				(values, i) => vectorFromArray(values as never[], schema.fields[i]!.type).data[0]!,
			);
			const field = schema.fields[columns.length]!;
			const heads = vectorData(field, { data: parts, rows: count, width: spec.heads, type: "float32" });
			batches.push(makeBatch(schema, count, [...data, heads]));
		}
	} finally {
		model.close();
		runtime.close();
	}
	return { schema, batches: each(batches) };
}

/** Where the latents are most active, the strongest places of each first. */
async function strongest(
	model: Transformer,
	runtime: SaeRuntime,
	passes: readonly PassTokens[],
	point: string,
	latents: readonly number[],
	top: number,
	{ signal }: Context,
): Promise<Firing[]> {
	const found = new Map<number, Firing[]>(latents.map((latent) => [latent, []]));
	for (const [number, pass] of passes.entries()) {
		signal.throwIfAborted();
		await model.run(
			pass,
			new Map([
				[
					point,
					async (value) => {
						const codes = await runtime.encode(await model.read(value), value.rows);
						for (let row = 0; row < codes.rows; row++) {
							for (let entry = codes.offsets[row]!; entry < codes.offsets[row + 1]!; entry++) {
								const latent = codes.index[entry]!;
								found.get(latent)?.push({ latent, activation: codes.value[entry]!, pass: number, row });
							}
						}
					},
				],
			]),
		);
		for (const [latent, all] of found) {
			found.set(latent, all.sort((a, b) => b.activation - a.activation).slice(0, top));
		}
	}
	return [...found.values()].flat();
}

/** The columns before `heads`. */
function sourceRows(
	{ latent, activation, row }: Firing,
	pass: PassTokens,
	first: number,
	parts: Float32Array,
	heads: number,
	tokenizer: TextTokenizer | undefined,
): (number | string | null)[][] {
	const textOf = (token: number) => (tokenizer ? tokenizer.decode([token]) : null);
	const sources = Array.from({ length: row - first + 1 }, (_, i) => first + i);
	const same = (value: number | string | null) => sources.map(() => value);
	return [
		same(latent),
		same(activation),
		same(pass.documents[row]!),
		same(pass.positions[row]!),
		same(textOf(pass.tokens[row]!)),
		sources.map((source) => pass.positions[source]!),
		sources.map((source) => textOf(pass.tokens[source]!)),
		sources.map((_, i) => parts.subarray(i * heads, (i + 1) * heads).reduce((sum, part) => sum + part, 0)),
	];
}

function attributionSchema(heads: number, { model }: Options, context: Context): Schema {
	const whole = (name: string) => new Field(name, new Uint32(), false);
	const float = (name: string) => new Field(name, new Float32(), false);
	const words = (name: string) => new Field(name, new Utf8(), true);
	const fields = [
		whole("latent"),
		float("activation"),
		whole("document"),
		whole("position"),
		words("text"),
		whole("source_position"),
		words("source_text"),
		float("attribution"),
		vectorField("heads", heads, "float32"),
	];
	return schemaOf("metrics", fields, model, context);
}
