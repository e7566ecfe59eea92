/** `sae import PATH`: an SAE of another library as a folder in the native format. */
import { z } from "zod";
import { SaeError, usageError } from "../../core/errors.ts";
import type { SaeModel } from "../../core/sae.ts";
import { defineVerb } from "../command.ts";
import { comparisonOptions, writeCompared } from "../conversion.ts";
import { findContribution, registry } from "../plugins.ts";

export default defineVerb({
	name: "import",
	summary: "makes a native folder of a sparse autoencoder in any known format",
	details:
		"Every command reads every known format, so this is for keeping one form of everything, and for what a file lacks: " +
		"--input-scale folds in the number that training multiplied its rows by.",
	examples: [
		{ command: "sae import pythia-70m/resid_post_layer_3/trainer_5 --out my-sae" },
		{ command: "sae import old-saelens-sae --input-scale 0.32 --out my-sae" },
	],
	positionals: [{ key: "path" }],
	options: z.object({
		path: z.string().min(1).describe("A file or folder of any library that has an importer"),
		out: z.string().min(1).meta({ hint: "DIR" }).describe("Folder to write"),
		input_scale: z
			.number()
			.positive()
			.optional()
			.describe("For SAEs of SAELens whose input scale is not in their files (expected_average_only_in)"),
		...comparisonOptions,
	}),
	async run({ options, context }) {
		const { loadSae, NATIVE_FORMAT } = await import("../../core/load.ts");
		const { path, out } = options;
		const model = await folded(await loadSae(path, registry), options.input_scale, path);
		const exporter = await findContribution("exporter", NATIVE_FORMAT);
		await writeCompared(
			model,
			options,
			() => exporter.write(model, out, exporter.options.parse({})),
			context,
		);
	},
});

async function folded(model: SaeModel, scale: number | undefined, path: string): Promise<SaeModel> {
	const lacking = model.normalize_activations === "expected_average_only_in";
	if (scale === undefined) {
		if (!lacking) return model;
		throw new SaeError(
			`${path}: was trained on rows times one number, which is not in its files; --input-scale says it (√d_in over the mean norm of the model's activations)`,
		);
	}
	if (!lacking) throw usageError(`--input-scale: ${path} lacks none, so it would be folded in twice`);
	const { foldScaleKeepingLatents } = await import("../../core/fold.ts");
	return foldScaleKeepingLatents(model, scale);
}
