/** A latent's examples as passages of text, apart into those that it is explained by and those that judge it. */
import type { Feature, FeatureExample } from "../arrow/features.ts";

/** Consecutive rows, and how active one latent is on each. */
export interface Passage {
	/** What each row reads as: a token, or a whole text where rows are texts. */
	readonly pieces: readonly string[];
	/** Activations, 0 where the latent is silent. */
	readonly values: Float32Array;
	/** Number of the first row in the stream that the features are of. */
	readonly first: number;
}

/** The passage of an example; undefined where rows have neither text nor tokens. */
export function passageOf({ texts, tokens, values, row, at }: FeatureExample): Passage | undefined {
	const pieces = texts.length > 0 ? texts : Array.from(tokens, (token) => `token ${token}`);
	return pieces.length === values.length ? { pieces, values, first: row - at } : undefined;
}

/** Whether two passages have a row in common. */
export function overlap(a: Passage, b: Passage): boolean {
	return a.first < b.first + b.pieces.length && b.first < a.first + a.pieces.length;
}

export interface Split {
	/** What an explanation may be made of: the largest activations, and others down to the smallest. */
	readonly shown: readonly Passage[];
	/** What it is judged on. None has a row or its whole text in common with one that is shown. */
	readonly heldOut: readonly Passage[];
}

/**
 * Splits a latent's examples, largest activation first. Held-out ones are evenly spread over all, and at most half.
 *
 * @param shown passages to explain by, at most: half of them the largest, half evenly spread over the rest.
 */
export function splitExamples({ top, samples }: Feature, shown: number, heldOut: number): Split {
	const all = distinct([...top, ...samples].sort((a, b) => b.value - a.value));
	const out = new Set(spread(all.length, Math.min(heldOut, Math.floor(all.length / 2))));
	const rest = all.filter((_, i) => !out.has(i));
	const largest = rest.slice(0, Math.ceil(shown / 2));
	const others = rest.slice(largest.length);
	const chosen = spread(others.length, Math.min(others.length, shown - largest.length));
	return {
		shown: [...largest, ...chosen.map((i) => others[i]!)],
		heldOut: all.filter((_, i) => out.has(i)),
	};
}

/** So many of the numbers below `length`, evenly spread. */
function spread(length: number, count: number): number[] {
	return Array.from({ length: count }, (_, i) => Math.floor(((i + 0.5) * length) / count));
}

/** Texts repeat in data: one that is known already tells nothing, and would leak from one side to the other. */
function distinct(examples: readonly FeatureExample[]): Passage[] {
	const kept: Passage[] = [];
	const texts = new Set<string>();
	for (const example of examples) {
		const passage = passageOf(example);
		if (!passage || kept.some((other) => overlap(other, passage))) continue;
		const text = passage.pieces.join("");
		if (texts.has(text)) continue;
		texts.add(text);
		kept.push(passage);
	}
	return kept;
}
