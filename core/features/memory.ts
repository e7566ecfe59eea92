/** What collecting takes, so that it can be refused before it begins. */
import { SaeError } from "../errors.ts";
import type { CollectorOptions } from "./collector.ts";
import { KeptExamples } from "./kept-examples.ts";
import { MOST_COUNTED } from "./pairs.ts";
import { LatentRecords } from "./records.ts";
import { RowSketches } from "./sketch.ts";

const GB = 1e9;

/**
 * Bytes, but for the rows that came last, the SAE itself and the program:
 *
 *     d_sae · (309 + (examples + samples) · (24 + (before + 1 + after) · 8) + co-occurrence)
 *
 * 4 instead of 8 without tokens. Co-occurrence: 4 · d_sae up to 4,096 latents, else 12 + 28 · sketch, of which
 * 20 · sketch at the end.
 */
export function collectorBytes(options: CollectorOptions): number {
	const { d_sae, examples, samples, sketch } = options;
	const kept = KeptExamples.bytes(examples, options) + KeptExamples.bytes(samples, options);
	const cooccurrence = sketch === 0 ? 0 : d_sae <= MOST_COUNTED ? 4 * d_sae : RowSketches.bytes(sketch);
	return d_sae * (LatentRecords.bytes + kept + cooccurrence);
}

/** Latents that hashes can be sorted with. */
const MOST_LATENTS = 2 ** 21;

/** @throws SaeError that says what would take less. `budget`: bytes. */
export function checkMemory(options: CollectorOptions, budget: number): void {
	if (options.d_sae > MOST_LATENTS) {
		throw new SaeError(`the SAE has ${options.d_sae} latents; statistics are for ${MOST_LATENTS} at most`);
	}
	const bytes = collectorBytes(options);
	if (bytes <= budget) return;
	const size = (count: number) =>
		`${count < GB ? Number((count / GB).toPrecision(2)) : (count / GB).toFixed(1)} GB`;
	throw new SaeError(
		`statistics of ${options.d_sae} latents would take ${size(bytes)} of memory, more than the ${size(budget)} of --memory: ` +
			`lower --examples (${options.examples}), --samples (${options.samples}), --before (${options.before}), --after (${options.after}) or --sketch (${options.sketch}), or allow more`,
	);
}
