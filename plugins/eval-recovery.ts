/** `sae eval recovery`: how many of the features that made synthetic data an SAE has found. */
import { type Core, definePlugin, type EvaluatorContribution, type MetricRow, type SaeModel } from "saeflow";
import type { z } from "zod";
import type { Dictionary } from "./recovery/cosines.ts";
import { MAX_MATCHED, recovery } from "./recovery/matching.ts";

/** Cosines that are held at once; a gibibyte of them. */
const MAX_PAIRS = 2 ** 27;

export default definePlugin({
	name: "eval-recovery",
	apiVersion: 1,
	contributes: (core) => [recoveryEvaluator(core)],
});

function recoveryOptions({ z }: Core) {
	return z.object({
		truth: z
			.string()
			.meta({ hint: "FILE" })
			.describe(
				"Features that made the data, as `sae activations synthetic --truth` writes them (safetensors)",
			),
		seed: z.int().min(0).default(0).describe("Seed of the random dictionary to compare with"),
	});
}

type Options = z.output<ReturnType<typeof recoveryOptions>>;

function recoveryEvaluator(core: Core): EvaluatorContribution<Options> {
	return {
		kind: "evaluator",
		name: "recovery",
		summary: "MCC, MMCS and recovery of the features that made synthetic data, beside a random dictionary's",
		options: recoveryOptions(core),
		input: "none",
		async evaluate({ model }, { truth, seed }, { log }): Promise<MetricRow[]> {
			const features = await readFeatures(core, truth, model);
			if (features.rows * model.d_sae > MAX_PAIRS) {
				throw new core.SaeError(
					`${features.rows} features and ${model.d_sae} latents are too many to compare (at most ${MAX_PAIRS} pairs)`,
				);
			}
			if (Math.min(features.rows, model.d_sae) > MAX_MATCHED) {
				log.warn(`no MCC: matching more than ${MAX_MATCHED} features one to one takes too long`);
			}
			const dictionaries = { sae: decoderOf(model), random: randomDictionary(core, model, seed) };
			return Object.entries(dictionaries).map(([dictionary, found]) => ({
				dictionary,
				features: features.rows,
				latents: model.d_sae,
				...recovery(features, found),
			}));
		},
	};
}

async function readFeatures(core: Core, path: string, { d_in, d_out = d_in }: SaeModel): Promise<Dictionary> {
	const file = await core.openSafetensors(path);
	try {
		const data = await core.readFloat32(file, "features");
		const { shape } = file.tensors.get("features")!;
		const [rows = 0, width] = shape;
		if (shape.length !== 2 || rows === 0 || width !== d_out) {
			throw new core.SaeError(
				`${path}: features has the shape [${shape.join(", ")}], but this SAE's decoder makes it [n, ${d_out}]`,
			);
		}
		if (core.firstNonFinite(data) >= 0) throw new core.SaeError(`${path}: features holds NaN or infinity`);
		return { rows, width, data };
	} finally {
		await file.close();
	}
}

function decoderOf({ d_in, d_out = d_in, d_sae, tensors }: SaeModel): Dictionary {
	return { rows: d_sae, width: d_out, data: tensors.W_dec!.data };
}

/** As many rows as the SAE has latents, uniform on the sphere once they are scaled to unit norm. */
function randomDictionary(core: Core, { d_in, d_out = d_in, d_sae }: SaeModel, seed: number): Dictionary {
	const random = new core.CounterRng(seed);
	const data = Float64Array.from({ length: d_sae * d_out }, (_, i) => random.normal(i));
	return { rows: d_sae, width: d_out, data };
}
