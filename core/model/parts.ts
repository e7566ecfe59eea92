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

/** How much of a model is loaded: so many layers, and what comes after them or not. */
export interface Loaded {
	readonly layers?: number | undefined;
	readonly head?: boolean | undefined;
}

/** Every map and norm of that much of a model. */
export function partsOf(
	spec: ModelSpec,
	{ layers: count, head = true }: Loaded,
): { linears: Linear[]; norms: Norm[] } {
	const layers = spec.layers.slice(0, count);
	return {
		linears: [...layers.flatMap(linearsOf), ...embeddings(spec), ...(head ? [spec.unembed] : [])],
		norms: [...layers.flatMap(normsOf), ...(head ? [spec.finalNorm] : [])],
	};
}
