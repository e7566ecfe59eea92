/** The first pass over a features stream: which latents are to be explained, and passages of all. */
import { featuresOf } from "../../core/arrow/features.ts";
import { SaeError } from "../../core/errors.ts";
import { PassagePool } from "../../core/interpret/pool.ts";
import type { Context } from "../../core/plugin.ts";
import { CounterRng } from "../../core/random.ts";
import { permutation } from "../../core/shuffle.ts";
import type { RecordStream } from "../../core/stream.ts";

export interface Choice {
	readonly latents?: ((latent: number) => boolean) | undefined;
	/** How many to draw at random. */
	readonly sample?: number | undefined;
	readonly sample_seed: number;
	readonly min_count: number;
}

export interface Survey {
	readonly pool: PassagePool;
	readonly wanted: ReadonlySet<number>;
}

/** @throws SaeError where nothing is left to explain. */
export async function survey(
	{ batches }: RecordStream,
	{ latents, sample, sample_seed, min_count }: Choice,
	{ log, signal }: Pick<Context, "log" | "signal">,
): Promise<Survey> {
	const pool = new PassagePool();
	const found: number[] = [];
	let seen = 0;
	for await (const batch of batches) {
		signal.throwIfAborted();
		for (const feature of featuresOf(batch)) {
			pool.add(feature);
			const { latent, count } = feature;
			if ((latents?.(latent) ?? true) && count >= min_count) found.push(latent);
		}
		seen += batch.numRows;
		log.progress(`${seen.toLocaleString("en")} latents read`);
	}
	if (found.length === 0) {
		throw new SaeError(
			`of ${seen} latents in the stream none is chosen and active on at least ${min_count} rows: there is nothing to explain`,
		);
	}
	const order = permutation(new CounterRng(sample_seed), found.length);
	const drawn = sample === undefined ? found : Array.from(order.subarray(0, sample), (i) => found[i]!);
	return { pool, wanted: new Set(drawn) };
}
