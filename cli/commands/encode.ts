/** `sae encode SAE`: activations in, sparse latents out. */
import { z } from "zod";
import { columnNames } from "../../core/columns.ts";
import { usageError } from "../../core/errors.ts";
import { defineVerb } from "../command.ts";
import { openInput } from "../input.ts";
import { outputOptions, writeOutput } from "../output.ts";
import { registry } from "../plugins.ts";
import { saeOptions, saePositionals } from "../sae.ts";

export default defineVerb({
	name: "encode",
	summary: "turns a stream of activations into sparse latents",
	details:
		"Each row gets a list of its active latents and their values; its other columns pass through. The columns of " +
		"activations are dropped unless --keep-activations says otherwise.",
	examples: [
		{ command: "sae activations file acts.npy | sae encode my-sae --out latents.arrow" },
		{ command: "sae encode my-sae acts.arrow --alpha 1.5 | sae decode my-sae > reconstructions.arrow" },
	],
	positionals: saePositionals,
	options: z.object({
		...saeOptions,
		column: columnNames
			.optional()
			.meta({ hint: "NAME,..." })
			.describe("Columns of vectors; by default those that the SAE was trained on, or the only one there is"),
		k: z.int().min(1).optional().describe("Latents per row, instead of the SAE's own k"),
		alpha: z
			.number()
			.positive()
			.optional()
			.describe(
				"Keep alpha times the SAE's k latents; a little over 1 often gives classifiers better features",
			),
		keep_activations: z.boolean().default(false).describe("Keep the column of activations"),
		...outputOptions,
	}),
	async run({ options, context }) {
		const { alpha, column: columns, keep_activations: keepActivations } = options;
		if (options.k !== undefined && alpha !== undefined) throw usageError("give --k or --alpha, not both");
		const [{ encodeStream }, { loadSae }, { scaledK }] = await Promise.all([
			import("../../core/latents.ts"),
			import("../../core/load.ts"),
			import("../../core/open-sae.ts"),
		]);
		const model = await loadSae(options.sae, registry);
		const k = alpha === undefined ? options.k : scaledK(model, alpha);
		const input = await openInput(options.input, ["activations"]);
		const runtime = await context.openSae(model, { k });
		try {
			const { command } = context;
			await writeOutput(
				encodeStream(input, model, runtime, { columns, keepActivations, command }),
				options,
				context,
			);
		} finally {
			runtime.close();
		}
	},
});
