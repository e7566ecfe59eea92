/** What `sae intervene` gives: losses, losses by token, or texts. */
import { columnTypes, tableBatch, tableSchema } from "../core/arrow/metrics.ts";
import { usageError } from "../core/errors.ts";
import {
	type Change,
	compareLosses,
	editCodes,
	findModel,
	firstContexts,
	type GivenEdit,
	generate,
	LossMean,
	NO_TARGET,
	type OpenedSae,
	openSaesIn,
	openText,
	openTokenizer,
	openTransformer,
	type PassLosses,
	packPasses,
	readModelSpec,
	spliceHooks,
	type TextTokenizer,
	type Transformer,
	type TransformerOptions,
	tokenizerIfAny,
} from "../core/model/index.ts";
import type { Context, MetricRow } from "../core/plugin.ts";
import { META, type RecordStream } from "../core/stream.ts";
import type { InterventionOptions as Options } from "./commands/intervene.ts";

type Edits = readonly GivenEdit[];

/** A row for each pass: the model as it is, with its SAEs, and with the intervention. */
export async function lossRows(options: Options, edits: Edits, context: Context): Promise<RecordStream> {
	const runs = [
		// With the error kept, an SAE alone changes nothing.
		...(options.error === "drop" || edits.length === 0 ? [{ run: "sae", edits: [] }] : []),
		...(edits.length > 0 ? [{ run: "intervention", edits }] : []),
	];
	const means = ["model", ...runs.map(({ run }) => run)].map((run) => ({ run, mean: new LossMean() }));
	for await (const { pass, clean, changed } of losses(options, runs, context)) {
		means[0]!.mean.add(pass, clean);
		for (const [i, { losses, divergences }] of changed.entries()) {
			means[i + 1]!.mean.add(pass, losses, divergences);
		}
	}
	const clean = means[0]!.mean.means.ce_loss;
	return tableOf(
		means.map(({ run, mean }) => ({
			run,
			predictions: mean.predictions,
			ce_loss: mean.means.ce_loss,
			ce_loss_delta: mean.means.ce_loss - clean,
			kl_div: mean.means.kl_div,
		})),
		context,
	);
}

/** A row for each token: what its prediction of the next one costs with and without the intervention. */
export async function perTokenRows(options: Options, edits: Edits, context: Context): Promise<RecordStream> {
	const schema = tableSchema(
		{
			document: "number",
			position: "number",
			token: "number",
			text: "string",
			ce_loss_without_sae: "number",
			ce_loss_with_sae: "number",
			kl_div_with_sae: "number",
		},
		"metrics",
		{ [META.command]: context.command },
	);
	const folder = await findModel(options.model, context.log);
	const tokenizer = await tokenizerIfAny(folder);
	async function* batches() {
		for await (const one of losses(options, [{ edits }], context)) {
			yield tableBatch(schema, tokenRows(one, tokenizer));
		}
	}
	return { schema, batches: batches() };
}

function tokenRows({ pass, clean, changed }: PassLosses, tokenizer: TextTokenizer | undefined): MetricRow[] {
	const { losses, divergences } = changed[0]!;
	return [...pass.tokens].map((token, row) => {
		const last = pass.targets[row] === NO_TARGET;
		return {
			document: pass.documents[row]!,
			position: pass.positions[row]!,
			token,
			text: tokenizer ? tokenizer.decode([token]) : null,
			ce_loss_without_sae: last ? null : clean[row]!,
			ce_loss_with_sae: last ? null : losses[row]!,
			kl_div_with_sae: divergences[row]!,
		};
	});
}

/** A row for each text: what follows the prompt without and with the intervention. */
export async function generatedTexts(
	options: Options,
	edits: Edits,
	context: Context,
): Promise<RecordStream> {
	const folder = await findModel(options.model, context.log);
	const tokenizer = await openTokenizer(folder);
	const spec = await readModelSpec(folder);
	const bos = tokenizer.bos ?? spec.bos;
	const wantsBos = options.bos === "always" || (options.bos === "auto" && tokenizer.addsBos);
	if (wantsBos && bos === undefined) throw usageError("--bos always: the model has no BOS token");
	const prompts = options.prompt.flatMap((text) => {
		const tokens = [...(wantsBos ? [bos!] : []), ...tokenizer.encode(text)];
		return Array.from({ length: options.samples }, (_, sample) => ({ text, sample, tokens }));
	});
	const longest = Math.max(...prompts.map(({ tokens }) => tokens.length)) + options.generate;
	const sizes = {
		context: Math.min(spec.context, longest),
		slots: prompts.length,
		rows: prompts.reduce((sum, { tokens }) => sum + tokens.length, 0),
	};
	const { model, saes, close } = await openAll(options, edits, context, sizes);
	try {
		const go = (changed: boolean) =>
			generate(
				model,
				prompts.map(({ tokens }) => Uint32Array.from(tokens)),
				{
					tokens: options.generate,
					temperature: options.temperature,
					topK: options.top_k,
					seed: options.seed,
					stop: new Set([...spec.eos, ...(tokenizer.eos === undefined ? [] : [tokenizer.eos])]),
				},
				changed ? (positions) => hooksOf(model, saes, options, edits, positions) : undefined,
				context.signal,
			);
		const [without, changed] = [await go(false), await go(true)];
		return tableOf(
			prompts.map(({ text, sample }, i) => ({
				prompt: text,
				sample,
				text_without_sae: tokenizer.decode(without[i]!),
				text_with_sae: tokenizer.decode(changed[i]!),
			})),
			context,
		);
	} finally {
		close();
	}
}

async function* losses(
	options: Options,
	runs: readonly { readonly edits: Edits }[],
	context: Context,
): AsyncGenerator<PassLosses> {
	const folder = await findModel(options.model, context.log);
	const text = await openText(folder, await readModelSpec(folder), options);
	const contexts = await firstContexts(text.contexts(), options);
	const { model, saes, close } = await openAll(
		options,
		runs.flatMap(({ edits }) => edits),
		context,
		{
			context: text.length,
		},
	);
	try {
		const changes = runs.map(
			({ edits }): Change =>
				({ positions }) =>
					hooksOf(model, saes, options, edits, positions),
		);
		yield* compareLosses(model, packPasses(contexts, model.rows), changes, context.signal);
	} finally {
		close();
	}
}

async function openAll(options: Options, edits: Edits, context: Context, sizes: TransformerOptions) {
	const folder = await findModel(options.model, context.log);
	const spec = await readModelSpec(folder);
	const saes = await openSaesIn(spec, options.sae, options.hook_point, context);
	const closeSaes = () => {
		for (const { runtime } of saes) runtime.close();
	};
	try {
		checkLatents(edits, saes);
		const model = await openTransformer(folder, { gpu: await context.gpu(), ...sizes });
		const close = () => {
			model.close();
			closeSaes();
		};
		return { model, saes, close };
	} catch (error) {
		closeSaes();
		throw error;
	}
}

function checkLatents(edits: Edits, saes: readonly OpenedSae[]): void {
	for (const { sae, latent } of edits) {
		const { path, model } = saes[sae]!;
		if (latent >= model.d_sae) {
			throw usageError(`latent ${latent}: ${path} has the latents 0 to ${model.d_sae - 1}`);
		}
	}
}

function hooksOf(
	model: Transformer,
	saes: readonly OpenedSae[],
	{ error }: Pick<Options, "error">,
	edits: Edits,
	positions: Uint32Array,
) {
	return spliceHooks(
		model,
		saes.map((sae, number) => {
			const own = edits.filter((edit) => edit.sae === number);
			return {
				sae,
				options: {
					keepError: error === "keep",
					edit: own.length > 0 ? (codes) => editCodes(codes, own, positions) : undefined,
				},
			};
		}),
	);
}

function tableOf(rows: readonly MetricRow[], context: Context): RecordStream {
	const schema = tableSchema(columnTypes(rows), "metrics", { [META.command]: context.command });
	async function* batches() {
		yield tableBatch(schema, rows);
	}
	return { schema, batches: batches() };
}
