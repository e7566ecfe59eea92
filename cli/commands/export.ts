/** `sae export EXPORTER SAE`: an SAE in another format. */
import { z } from "zod";
import { definePluginVerb } from "../command.ts";
import { comparisonOptions, writeCompared } from "../conversion.ts";
import { registry } from "../plugins.ts";
import { saeOptions } from "../sae.ts";

export default definePluginVerb({
	name: "export",
	summary: "writes a sparse autoencoder in another format",
	details:
		"Reads any format that has an importer. What was written is read back, and codes and reconstructions of the same " +
		"rows are compared; it is called lossless only where they are the same bit by bit. What a format can't hold is " +
		"refused with the reason.",
	examples: [
		{ command: "sae export saelens my-sae --out my-sae-f16 --dtype float16" },
		{
			command: "sae export dictionary-learning gemma-scope/layer_12 --out converted --activations acts.arrow",
			note: "compare on activations of yours",
		},
	],
	plugin: { kind: "exporter", optional: false },
	positionals: [{ key: "sae" }],
	options: z.object({
		sae: saeOptions.sae,
		out: z.string().min(1).meta({ hint: "PATH" }).describe("Where to write it"),
		...comparisonOptions,
	}),
	async run({ options, chosen, context }) {
		const { loadSae } = await import("../../core/load.ts");
		const model = await loadSae(options.sae, registry);
		const { contribution } = chosen;
		await writeCompared(
			model,
			options,
			() => contribution.write(model, options.out, chosen.options),
			context,
		);
	},
});
