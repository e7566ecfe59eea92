/** Absorption under the keys of SAEBench's results. */
import type { MetricRow, SaeModel } from "saeflow";
import { writeSaeBench } from "../evaluation/saebench.ts";
import { L1_PENALTY, MOST_SPLIT } from "./letter.ts";

/** Writes the letters that were not left out, and their means and sample deviations. */
export async function writeAbsorption(
	path: string,
	model: SaeModel,
	rows: readonly MetricRow[],
	seed: number,
): Promise<void> {
	const letters = rows.filter((row) => row.split !== null);
	const values = (key: string) => letters.map((row) => Number(row[key]));
	await writeSaeBench(path, model, {
		type: "absorption_first_letter",
		config: {
			random_seed: seed,
			f1_jump_threshold: 0.03,
			max_k_value: MOST_SPLIT,
			k_sparse_probe_l1_decay: L1_PENALTY,
		},
		metrics: {
			mean: {
				mean_absorption_fraction_score: mean(values("absorption_fraction")),
				mean_full_absorption_score: mean(values("full_absorption")),
				mean_num_split_features: mean(values("split")),
				std_dev_absorption_fraction_score: deviation(values("absorption_fraction")),
				std_dev_full_absorption_score: deviation(values("full_absorption")),
				std_dev_num_split_features: deviation(values("split")),
			},
		},
		details: letters.map((row) => ({
			first_letter: String(row.letter).toLowerCase(),
			mean_absorption_fraction: row.absorption_fraction,
			full_absorption_rate: row.full_absorption,
			num_full_absorption: Math.round(Number(row.full_absorption) * Number(row.true_positives)),
			num_probe_true_positives: row.true_positives,
			num_split_features: row.split,
		})),
	});
}

function mean(values: readonly number[]): number | null {
	return values.length === 0 ? null : values.reduce((sum, value) => sum + value, 0) / values.length;
}

/** Of a sample; null for fewer than two. */
function deviation(values: readonly number[]): number | null {
	const centre = mean(values);
	if (centre === null || values.length < 2) return null;
	return Math.sqrt(values.reduce((sum, value) => sum + (value - centre) ** 2, 0) / (values.length - 1));
}
