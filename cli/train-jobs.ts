/** From what was asked for on the command line to the SAEs of a training run. */
import { join } from "node:path";
import { z } from "zod";
import { usageError } from "../core/errors.ts";
import { saveSae } from "../core/load.ts";
import type { ArchitectureContribution } from "../core/plugin.ts";
import type { SaeModel } from "../core/sae.ts";
import type { SaeJob } from "../core/train/job.ts";
import { saeJob } from "../core/train-saes.ts";
import { readOptions } from "./options.ts";
import { findContribution, registry } from "./plugins.ts";

/** What every SAE of the run shares unless its own words say otherwise. */
interface Shared {
	readonly out: string;
	readonly d_sae: number;
	readonly initial?: SaeModel;
}

/** The only SAE of a run, in the run's folder. */
export function singleJob(architecture: ArchitectureContribution, options: unknown, shared: Shared): SaeJob {
	return makeJob(architecture.name, architecture, options, shared);
}

const Own = z.object({
	d_sae: z.int().min(1).optional().describe("Latents of this SAE"),
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
	for (const spec of specs) {
		const [kind, rest = ""] = split(spec, ":");
		const architecture = await findContribution("architecture", kind);
		const words = rest === "" ? [] : rest.split(",").map((word) => `--${word}`);
		const [own, options] = read(spec, words, architecture);
		const name = own.name ?? spec.replaceAll(/[:,]/g, "-").replaceAll(/[^\w.-]/g, "");
		if (jobs.some((job) => job.name === name)) {
			throw usageError(`--sae ${spec}: there are two SAEs called ${name}; add name=… to tell them apart`);
		}
		const { d_sae = shared.d_sae } = own;
		jobs.push(makeJob(name, architecture, options, { ...shared, d_sae, out: join(shared.out, name) }));
	}
	return jobs;
}

function read(spec: string, words: readonly string[], architecture: ArchitectureContribution) {
	try {
		const groups = [
			{ schema: Own, positionals: [] },
			{ schema: architecture.options, positionals: [] },
		];
		return readOptions(words, groups, undefined) as [z.output<typeof Own>, unknown];
	} catch (error) {
		throw usageError(`--sae ${spec}: ${(error as Error).message}`);
	}
}

function split(text: string, separator: string): [string, string?] {
	const at = text.indexOf(separator);
	return at < 0 ? [text] : [text.slice(0, at), text.slice(at + 1)];
}

function makeJob(
	name: string,
	architecture: ArchitectureContribution,
	options: unknown,
	{ out, ...rest }: Shared,
): SaeJob {
	return saeJob(architecture, options, { ...rest, name, save: (model) => saveSae(model, out, registry) });
}
