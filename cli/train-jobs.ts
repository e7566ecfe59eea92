/** From what was asked for on the command line to the SAEs of a training run. */
import { join } from "node:path";
import { z } from "zod";
import { usageError } from "../core/errors.ts";
import { saveSae } from "../core/load.ts";
import type { ArchitectureContribution } from "../core/plugin.ts";
import type { OwnSettings, SaeJob } from "../core/train/job.ts";
import { saeJob } from "../core/train-saes.ts";
import { registry } from "./plugins.ts";
import { ownOptions, readSpec, specOptions } from "./sae-spec.ts";

/** What an SAE is made with besides its architecture; every SAE of a run shares it unless its words say otherwise. */
interface Shared extends OwnSettings, Pick<SaeJob, "d_sae" | "initial"> {
	readonly out: string;
}

/** The only SAE of a run, in the run's folder. */
export function singleJob(architecture: ArchitectureContribution, options: unknown, shared: Shared): SaeJob {
	return makeJob(architecture.name, architecture, options, shared);
}

const Own = z.object({
	...ownOptions,
	name: z
		.string()
		.regex(/^[\w.-]+$/)
		.optional()
		.describe("Its name in metrics and its folder"),
});

/**
 * Several SAEs on one stream, each from words like `topk:k=16,d-sae=8192`, each in a folder of its own.
 * @throws a usage error that names the words that are wrong.
 */
export async function severalJobs(specs: readonly string[], shared: Shared): Promise<SaeJob[]> {
	const jobs: SaeJob[] = [];
	for (const text of specs) {
		const spec = await readSpec(text);
		const [own, options] = specOptions(spec, spec.words, Own);
		const { name = nameOf(text), d_sae = shared.d_sae, ...rates } = own;
		if (jobs.some((job) => job.name === name)) {
			throw usageError(`--sae ${text}: there are two SAEs called ${name}; add name=… to tell them apart`);
		}
		const out = join(shared.out, name);
		jobs.push(makeJob(name, spec.architecture, options, { ...shared, ...rates, d_sae, out }));
	}
	return jobs;
}

/** `topk-k16-d-sae8192` for either way to write it. */
function nameOf(spec: string): string {
	return spec.replaceAll(/[:,]|\s*--/g, "-").replaceAll(/[^\w.-]/g, "");
}

/** The job of an SAE that is saved in a folder. */
export function makeJob(
	name: string,
	architecture: ArchitectureContribution,
	options: unknown,
	{ out, ...rest }: Shared,
): SaeJob {
	return saeJob(architecture, options, { ...rest, name, save: (model) => saveSae(model, out, registry) });
}
