/** The language model that rows are from: its tokenizer, and the way from the SAE to the logits. */
import type { Schema } from "apache-arrow";
import { isSaeError } from "../../core/errors.ts";
import type { LogitAttribution, TextTokenizer } from "../../core/model/index.ts";
import type { Context } from "../../core/plugin.ts";
import type { SaeModel } from "../../core/sae.ts";
import { META } from "../../core/stream.ts";

export interface LanguageModel {
	readonly tokenizer: TextTokenizer | undefined;
	/** Where the SAE writes, if that is known. */
	readonly hookPoint: string | undefined;
	/** `directions`: decoder rows, [d_sae, width of the hook point]. Missing where nothing leads to the logits. */
	openLogits?: () => Promise<{ readonly logits: LogitAttribution; readonly directions: Float32Array }>;
}

interface Options {
	readonly model?: string | undefined;
	readonly hook_point?: string | undefined;
	readonly logits: number;
}

/**
 * The model that is named, or that the stream names if it is here. What is missing is said in a line.
 *
 * @throws SaeError for a model or hook point that is named and can't be used.
 */
export async function languageModel(
	sae: SaeModel,
	{ metadata }: Schema,
	options: Options,
	context: Context,
): Promise<LanguageModel | undefined> {
	const { log } = context;
	const core = await import("../../core/model/index.ts");
	const named = metadata.get(META.model);
	const folder =
		options.model !== undefined
			? await core.findModel(options.model, log)
			: named !== undefined
				? await core.findLocalModel(named)
				: undefined;
	if (folder === undefined) {
		const why = named === undefined ? "the stream names no language model" : `there is no ${named} here`;
		log.info(`${why}, so there are no texts of tokens and no logits; --model gives one`);
		return undefined;
	}
	const tokenizer = await core.tokenizerIfAny(folder);
	if (!tokenizer) log.info(`${folder} has no tokenizer.json, so there are no texts of tokens`);
	if (options.logits === 0) return { tokenizer, hookPoint: undefined };
	const spec = await core.readModelSpec(folder);
	const given = options.hook_point ?? (sae.metadata.hook_name ? undefined : metadata.get(META.hookPoint));
	try {
		const { writes } = core.placeSae(spec, sae, given);
		const [point] = writes as [(typeof writes)[number], ...typeof writes];
		core.checkLogitRoute(spec, point);
		if (writes.length > 1) log.info(`of ${writes.length} hook points, logits are those of ${point.name}`);
		return {
			tokenizer,
			hookPoint: point.name,
			openLogits: async () => ({
				logits: await core.openLogitAttribution(await context.gpu(), folder, spec, point),
				directions: firstColumns(sae, point.width),
			}),
		};
	} catch (error) {
		if (!isSaeError(error) || options.hook_point !== undefined) throw error;
		log.info(`no logits: ${error.message}`);
		return { tokenizer, hookPoint: given };
	}
}

/** The part of each decoder row that goes to the first hook point. */
function firstColumns({ tensors, d_sae }: SaeModel, width: number): Float32Array {
	const { data } = tensors.W_dec!;
	const whole = data.length / d_sae;
	if (whole === width) return data;
	const part = new Float32Array(d_sae * width);
	for (let latent = 0; latent < d_sae; latent++) {
		part.set(data.subarray(latent * whole, latent * whole + width), latent * width);
	}
	return part;
}
