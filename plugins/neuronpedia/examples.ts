/** A latent's examples by the fields that both forms have, in groups as dashboards show them. */
import type { Core, Feature, FeatureExample } from "saeflow";
import { rounded } from "./statistics.ts";

export interface ShownExample {
	readonly tokens: readonly string[];
	readonly values: readonly number[];
	readonly at: number;
	readonly document: number | null;
	readonly row: number;
	/** The group: values in (min, max], and the share of activations there; −1, largest and −1 for the top. */
	readonly bin: { readonly min: number; readonly max: number; readonly share: number };
}

/** Parts of equal width that samples are grouped by. */
const BINS = 5;

/** @throws SaeError where a context has no tokens. */
export function examplesOf(core: Core, feature: Feature): ShownExample[] {
	const shown = new Set(feature.top.map(({ row }) => row));
	const others = feature.samples.filter(({ row }) => !shown.has(row));
	const top = { min: -1, max: rounded(feature.max), share: -1 };
	return [
		...feature.top.map((example) => ({ ...plain(core, feature, example), bin: top })),
		...others.map((example) => ({ ...plain(core, feature, example), bin: binOf(feature, example.value) })),
	];
}

function plain({ SaeError }: Core, { latent }: Feature, example: FeatureExample) {
	const { values, texts, tokens, at, document, row } = example;
	const read = texts.length > 0 ? texts : Array.from(tokens, (token) => `token ${token}`);
	if (read.length !== values.length) {
		throw new SaeError(
			`latent ${latent}: an example has ${values.length} activations and ${read.length} tokens; Neuronpedia shows tokens, so make the features from a stream with tokens`,
		);
	}
	return { tokens: read, values: Array.from(values, rounded), at, document, row };
}

function binOf({ max, count, histogram }: Feature, value: number): ShownExample["bin"] {
	const width = max / BINS;
	const bin = Math.min(BINS - 1, Math.max(0, Math.ceil(value / width) - 1));
	const [from, to] = [bin * width, (bin + 1) * width];
	const { start, width: step, counts } = histogram;
	let inside = 0;
	for (const [i, some] of counts.entries()) {
		const centre = start + (i + 0.5) * step;
		if (centre > from && centre <= to) inside += some;
	}
	return { min: rounded(from), max: rounded(to), share: count > 0 ? rounded(inside / count) : 0 };
}
