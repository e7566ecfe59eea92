/** Results in the form of SAEBench's JSON files, which its plots read. */
import { readFile, writeFile } from "node:fs/promises";
import type { SaeModel } from "saeflow";
import { writeSingleFile } from "../shared/folder.ts";

export interface SaeBenchResult {
	readonly type: string;
	readonly config: Readonly<Record<string, unknown>>;
	readonly metrics: Readonly<Record<string, Readonly<Record<string, number | null>>>>;
	readonly details: readonly Readonly<Record<string, unknown>>[];
}

/** Writes one SAE's result. Keys are SAEBench's; versions of its own libraries are empty, for none took part. */
export async function writeSaeBench(
	path: string,
	model: SaeModel,
	{ type, config, metrics, details }: SaeBenchResult,
): Promise<void> {
	const result = {
		eval_type_id: type,
		eval_config: config,
		eval_id: crypto.randomUUID(),
		datetime_epoch_millis: Date.now(),
		eval_result_metrics: metrics,
		eval_result_details: details,
		eval_result_unstructured: null,
		sae_bench_commit_hash: "",
		sae_lens_id: "custom_sae",
		sae_lens_release_id: "saeflow",
		sae_lens_version: "",
		sae_cfg_dict: describeSae(model),
	};
	const text = `${JSON.stringify(result, null, 2)}\n`;
	await writeSingleFile(
		path,
		(file) => writeFile(file, text),
		async (file) => void JSON.parse(await readFile(file, "utf8")),
	);
}

/** What a result says of its SAE. */
export function describeSae({ architecture, d_in, d_sae, settings, metadata }: SaeModel) {
	return { architecture, d_in, d_sae, ...settings, metadata };
}
