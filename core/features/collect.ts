/** A latents stream through a collector, one batch ahead of it. */
import type { RecordBatch } from "apache-arrow";
import { unlessAborted } from "../abort.ts";
import { codesOf } from "../arrow/codes.ts";
import type { RecordStream } from "../stream.ts";
import { type Collected, Collector, type CollectorOptions } from "./collector.ts";
import { factReader } from "./facts.ts";
import { garbageLimit } from "./garbage.ts";

/** What the stream does not say itself. */
export type CollectOptions = Omit<CollectorOptions, "tokens">;

interface Pass {
	readonly seen?: (rows: number) => void;
	readonly limit?: number | undefined;
	readonly signal?: AbortSignal;
}

/** Rows without neighbours need no room for them. */
export function collectorOptions({ schema }: RecordStream, options: CollectOptions): CollectorOptions {
	const { tokens, alone } = factReader(schema);
	return { ...options, tokens, ...(alone && { before: 0, after: 0 }) };
}

/**
 * Statistics and examples of every latent, in one pass. While a batch is looked at, the next one is made.
 *
 * @param seen called after each batch with the rows so far.
 * @param limit rows to stop after.
 * @param signal ends the pass with its reason, even while the stream stalls.
 * @throws SaeError when it is no latents stream, or one of another SAE.
 * @example
 * const latents = encodeStream(activations, sae, runtime);
 * const collected = await collectFeatures(latents, { d_sae, examples: 20, samples: 25, before: 24, after: 7, sketch: 256, seed: 0 });
 */
export async function collectFeatures(
	stream: RecordStream,
	options: CollectOptions,
	{ seen = () => {}, limit = Number.POSITIVE_INFINITY, signal = new AbortController().signal }: Pass = {},
): Promise<Collected> {
	const facts = factReader(stream.schema);
	const collector = new Collector(collectorOptions(stream, options));
	const limitGarbage = garbageLimit();
	for await (const batch of ahead(stream.batches, limit, signal)) {
		const left = limit - collector.rows;
		const codes = codesOf(batch);
		collector.add({ ...codes, rows: Math.min(codes.rows, left) }, facts.read(batch));
		limitGarbage();
		seen(collector.rows);
	}
	return collector.finish();
}

/**
 * The batches up to the one with the last row of `limit`, each asked for before the one ahead of it is worked on. None is
 * asked for that nobody will look at: it would still be on the device when that is closed. Does not wait when it is left.
 */
async function* ahead(
	batches: AsyncIterable<RecordBatch>,
	limit: number,
	signal: AbortSignal,
): AsyncGenerator<RecordBatch> {
	const iterator = batches[Symbol.asyncIterator]();
	const ask = () => {
		const next = iterator.next();
		next.catch(() => {});
		return next;
	};
	let next: ReturnType<typeof ask> | undefined = ask();
	let left = limit;
	try {
		while (next) {
			const { done, value } = await unlessAborted(next, signal);
			if (done) return;
			left -= value.numRows;
			next = left > 0 ? ask() : undefined;
			yield value;
		}
	} finally {
		iterator.return?.().catch(() => {});
	}
}
