/** Reconstruction and loss under the keys of SAEBench's `core` results, which one file has of an SAE. */
import { readFile } from "node:fs/promises";
import type { MetricRow, SaeModel } from "saeflow";
import { describeSae, writeSaeBench } from "./saebench.ts";

/** SAEBench's categories of figures. */
const CATEGORIES = {
	model_behavior_preservation: ["kl_div_score", "kl_div_with_ablation", "kl_div_with_sae"],
	model_performance_preservation: [
		"ce_loss_score",
		"ce_loss_with_ablation",
		"ce_loss_with_sae",
		"ce_loss_without_sae",
	],
	reconstruction_quality: ["explained_variance", "explained_variance_legacy", "mse", "cossim"],
	shrinkage: ["l2_norm_in", "l2_norm_out", "l2_ratio", "relative_reconstruction_bias"],
	sparsity: ["l0", "l1"],
	token_stats: ["total_tokens_eval_reconstruction", "total_tokens_eval_sparsity_variance"],
	misc_metrics: [
		"freq_over_1_percent",
		"freq_over_10_percent",
		"normalized_freq_over_1_percent",
		"normalized_freq_over_10_percent",
		"average_max_encoder_cosine_sim",
		"average_max_decoder_cosine_sim",
		"frac_alive",
	],
} as const;

/** What SAEBench has where nothing was measured. */
const NOT_MEASURED = -1;

type Metrics = Readonly<Record<string, Readonly<Record<string, number | null>>>>;

/**
 * Adds figures, by SAEBench's names, to the results of an SAE. Those that the file has of the same SAE stay, so that
 * both evaluators can write to one file; whatever else is there is replaced.
 */
export async function writeCore(
	path: string,
	model: SaeModel,
	figures: MetricRow,
	config: Readonly<Record<string, unknown>>,
): Promise<void> {
	const before = await resultsOf(path, model);
	const metrics = Object.entries(CATEGORIES).map(([category, names]) => {
		const known = before?.eval_result_metrics[category];
		const values = names.map((name) => [name, measured(figures[name]) ?? known?.[name] ?? NOT_MEASURED]);
		return [category, Object.fromEntries(values)];
	});
	await writeSaeBench(path, model, {
		type: "core",
		config: { ...before?.eval_config, ...config },
		metrics: Object.fromEntries(metrics),
		details: [],
	});
}

function measured(value: MetricRow[string] | undefined): number | undefined {
	return typeof value === "number" ? value : undefined;
}

/** Core results that a file has of this SAE already. */
async function resultsOf(
	path: string,
	model: SaeModel,
): Promise<{ eval_result_metrics: Metrics; eval_config: object } | undefined> {
	const text = await readFile(path, "utf8").catch(() => "");
	try {
		const result = JSON.parse(text);
		const same = JSON.stringify(result.sae_cfg_dict) === JSON.stringify(describeSae(model));
		return result.eval_type_id === "core" && same ? result : undefined;
	} catch {
		return undefined;
	}
}
