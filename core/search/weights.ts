/** Latents that are searched for, as they are written on a command line. */
import { usageError } from "../errors.ts";

/**
 * Reads `LATENT[:WEIGHT],…`, such as `12` or `12:2.5,40:-1`; a weight is 1 unless given.
 *
 * @throws a usage error for what is not of that form, and for a latent that is named twice.
 */
export function parseWeights(text: string): Map<number, number> {
	const weights = new Map<number, number>();
	for (const part of text.split(",")) {
		const [whole, latent, weight = "1"] = /^\s*(\d+)(?::(\S+))?\s*$/.exec(part) ?? [];
		if (whole === undefined || !Number.isFinite(Number(weight))) {
			throw usageError(`--latent ${text}: write LATENT or LATENT:WEIGHT, e.g. --latent 12:2.5,40:-1`);
		}
		if (weights.has(Number(latent))) throw usageError(`--latent ${text}: names ${latent} twice`);
		weights.set(Number(latent), Number(weight));
	}
	return weights;
}
