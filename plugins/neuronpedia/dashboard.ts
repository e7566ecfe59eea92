/** SAEDashboard's files: one JSON object per batch of latents, with their statistics and examples. */
import type { Core } from "saeflow";
import { examplesOf } from "./examples.ts";
import type { Files } from "./export.ts";
import type { Names } from "./names.ts";
import { type Exported, rounded, statistics } from "./statistics.ts";

export function dashboardFiles(names: Names): Files {
	const { modelId, layer, sourceSet, given, seen } = names;
	const about = { model_id: modelId, layer, sae_set: sourceSet, sae_id_suffix: null };
	const prompt = (longest: number) => given.prompt_tokens ?? longest;
	return {
		batch: (core, latents, batch, longest) => [
			{
				name: `batch-${batch}.json`,
				text: JSON.stringify({
					...about,
					features: latents.map((latent) => featureOf(core, names, latent, prompt(longest))),
				}),
			},
		],
		last: (longest) => [
			{
				name: "run_settings.json",
				text: JSON.stringify({
					...about,
					hook_name: names.hookName,
					n_tokens: seen,
					n_tokens_in_prompt: prompt(longest),
					dataset: given.dataset,
				}),
			},
		],
	};
}

function featureOf(core: Core, { given, seen }: Names, latent: Exported, prompt: number) {
	const { feature, decoder, withVector } = latent;
	return {
		feature_index: feature.latent,
		...statistics(latent),
		n_prompts_total: prompt > 0 ? Math.round(seen / prompt) : 0,
		n_tokens_in_prompt: prompt,
		dataset: given.dataset,
		activations: examplesOf(core, feature).map(({ tokens, values, at, bin }) => ({
			bin_min: bin.min,
			bin_max: bin.max,
			bin_contains: bin.share,
			tokens,
			values,
			qualifying_token_index: at,
		})),
		vector: withVector ? Array.from(decoder, rounded) : [],
	};
}
