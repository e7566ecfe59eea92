/** `sae export EXPORTER SAE`: an SAE in another format. */
import { z } from "zod";
import { definePluginVerb } from "../command.ts";
import { registry } from "../plugins.ts";
import { saeOptions } from "../sae.ts";

export default definePluginVerb({
	name: "export",
	summary: "writes a sparse autoencoder in another format",
	details: "Reads any format that has an importer, and reads what it wrote back to compare.",
	examples: [{ command: "sae export saelens my-sae --out my-sae-f16 --dtype float16" }],
	plugin: { kind: "exporter", optional: false },
	positionals: [{ key: "sae" }],
	options: z.object({
		sae: saeOptions.sae,
		out: z.string().min(1).meta({ hint: "PATH" }).describe("Where to write it"),
	}),
	async run({ options, chosen, context }) {
		const { loadSae } = await import("../../core/load.ts");
		await chosen.contribution.write(await loadSae(options.sae, registry), options.out, chosen.options);
		context.log.info(`wrote ${options.out}`);
	},
});
