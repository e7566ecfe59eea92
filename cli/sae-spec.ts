/** What a `--sae` says: an architecture and the words of its options. */
import { z } from "zod";
import { usageError } from "../core/errors.ts";
import type { ArchitectureContribution } from "../core/plugin.ts";
import { readOptions } from "./options.ts";
import { findContribution } from "./plugins.ts";

/** Latents per input dimension when --d-sae is not given. */
export const EXPANSION = 8;

export interface SaeSpec {
	/** As it was written. */
	readonly text: string;
	readonly architecture: ArchitectureContribution;
	/** As they would stand on a command line. */
	readonly words: readonly string[];
}

/** What an SAE may have of its own where several share a run. */
export const ownOptions = {
	d_sae: z.int().min(1).optional().describe("Latents of this SAE"),
	lr: z.number().positive().optional().describe("Its learning rate"),
	seed: z.int().min(0).optional().describe("Seed of its initial weights"),
	target_l0: z.number().positive().optional().describe("L0 to adjust its sparsity coefficient to"),
};

/** Reads `topk --k 16 --d-sae 8192`, or the same without spaces: `topk:k=16,d-sae=8192`. */
export async function readSpec(text: string): Promise<SaeSpec> {
	const [first = "", ...words] = text.trim().split(/\s+/);
	const [kind = "", options = ""] = first.split(/:(.*)/s);
	const short = options === "" ? [] : options.split(",").map((word) => `--${word}`);
	return { text, architecture: await findContribution("architecture", kind), words: [...short, ...words] };
}

/** The options of `own` and of the architecture. @throws a usage error that names the words that are wrong. */
export function specOptions<S extends z.ZodType>(
	{ text, architecture }: SaeSpec,
	words: readonly string[],
	own: S,
): [own: z.output<S>, options: Readonly<Record<string, unknown>>] {
	const groups = [own, architecture.options].map((schema) => ({ schema, positionals: [] }));
	try {
		return readOptions(words, groups, undefined) as [z.output<S>, Record<string, unknown>];
	} catch (error) {
		throw usageError(`--sae ${text}: ${(error as Error).message}`);
	}
}
