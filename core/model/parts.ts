/** Which weights the parts of a model need. */
import type { Layer, Linear, ModelSpec, Norm } from "./spec.ts";

export function linearsOf({ q, k, v, o, gate, up, down }: Layer): Linear[] {
	return [q, k, v, o, ...(gate ? [gate] : []), up, down];
}

export function normsOf({ ln1, ln1Post, ln2, ln2Post }: Layer): Norm[] {
	return [ln1, ln1Post, ln2, ln2Post].filter((norm) => norm !== undefined);
}

/** The tables of tokens and, where they are learned, positions, as maps whose outputs are their rows. */
export function embeddings({ embed, vocab, context, d_model: d_in }: ModelSpec): Linear[] {
	const tokens = { weight: embed.tokens, d_in, d_out: vocab };
	return embed.positions ? [tokens, { weight: embed.positions, d_in, d_out: context }] : [tokens];
}
