/** What verbs that look at latents of an SAE in a model take. */
import { z } from "zod";
import { usageError } from "../../core/errors.ts";
import { modelOption } from "../../core/model/options.ts";
import type { SaeModel } from "../../core/sae.ts";
import { saeOptions } from "../sae.ts";

export const latentOptions = {
	sae: saeOptions.sae,
	model: modelOption,
	hook_point: z
		.string()
		.optional()
		.meta({ hint: "NAME" })
		.describe("Where the SAE belongs; by default what it was trained on"),
};

/** @throws a usage error for a latent that the SAE lacks. */
export function checkLatents(latents: readonly number[], { d_sae }: SaeModel): void {
	const beyond = latents.find((latent) => latent >= d_sae);
	if (beyond !== undefined) throw usageError(`--latent ${beyond}: the SAE has the latents 0 to ${d_sae - 1}`);
}
