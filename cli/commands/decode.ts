/** `sae decode SAE`: sparse latents in, reconstructed activations out. */
import { z } from "zod";
import { defineVerb } from "../command.ts";
import { openInput } from "../input.ts";
import { outputOptions, writeOutput } from "../output.ts";
import { registry } from "../plugins.ts";
import { saeOptions, saePositionals } from "../sae.ts";

export default defineVerb({
	name: "decode",
	summary: "turns a stream of latents back into activations",
	details: "Reconstructions are float32; the rows' other columns pass through.",
	examples: [
		{ command: "sae activations file acts.npy | sae encode my-sae | sae decode my-sae --out back.arrow" },
	],
	positionals: saePositionals,
	options: z.object({
		...saeOptions,
		column: z.string().min(1).default("activation").describe("Name of the column of reconstructions"),
		...outputOptions,
	}),
	async run({ options, context }) {
		const [{ decodeStream }, { loadSae }] = await Promise.all([
			import("../../core/latents.ts"),
			import("../../core/load.ts"),
		]);
		const model = await loadSae(options.sae, registry);
		const input = await openInput(options.input, ["latents"]);
		const runtime = await context.openSae(model);
		try {
			const { column } = options;
			await writeOutput(
				decodeStream(input, model, runtime, { column, command: context.command }),
				options,
				context,
			);
		} finally {
			runtime.close();
		}
	},
});
