/** The rows of a run: a sample to start from, rows held out, and the batches to train on, until it is stopped. */
import type { Core, RowBatch, TrainJob } from "saeflow";
import type { TrainerOptions } from "../trainer.ts";
import { until } from "./until.ts";

/** A batch that is safe to keep until the next but one is asked for. */
export type Batch = Pick<RowBatch, "data" | "rows" | "width" | "type" | "position">;

export interface TrainingRows {
	readonly width: number;
	readonly type: RowBatch["type"];
	/** Rows held out, as float32, a whole number of batches. */
	readonly heldOut: Float32Array;
	/** First rows of training, as float32; empty for a resumed run. */
	readonly sample: Float32Array;
	readonly batches: AsyncGenerator<Batch>;
}

/**
 * Opens the stream at `start` and reads what the run needs before its first step. Held-out rows are the first ones
 * of the shuffled order; a resumed run brings them along, and its width, since there may be no row left for it.
 */
export async function openRows(
	core: Core,
	job: TrainJob,
	options: TrainerOptions,
	resumed: { position: number; heldOut: Float32Array; width: number } | undefined,
	signal: AbortSignal,
): Promise<TrainingRows> {
	const { SaeError, EXIT } = core;
	const field = core.findVectorField(job.stream.schema, job.column);
	const reader = until(
		core.readRows(job.stream, {
			columns: [field.name],
			batchSize: options.batch_size,
			shuffleBlock: options.shuffle_buffer,
			seed: options.seed,
			start: resumed?.position ?? 0,
			dropShort: true,
		}),
		signal,
	);
	const held = resumed ? 0 : Math.floor(options.eval_rows / options.batch_size);
	if (!resumed && options.eval_rows > 0) {
		if (held === 0) {
			throw new SaeError(
				`--eval-rows ${options.eval_rows} is less than one batch of ${options.batch_size} rows`,
				EXIT.usage,
			);
		}
		if (core.repeats(job.stream.schema)) {
			throw new SaeError(
				"the stream repeats its rows (--epochs), so none of them can be held out with --eval-rows; evaluate afterwards with sae eval",
				EXIT.usage,
			);
		}
	}
	const wanted = resumed ? 1 : held + Math.ceil(options.sample_rows / options.batch_size);
	const kept: Batch[] = [];
	while (kept.length < wanted) {
		const { value, done } = await reader.next();
		if (done) break;
		kept.push({ ...value, data: value.data.slice() });
	}
	signal.throwIfAborted();
	const first = kept[0] ?? (resumed && { width: resumed.width, type: "float32" as const });
	if (!first || (!resumed && kept.length <= held)) {
		throw new SaeError(
			`the stream has too few rows: ${kept.length} batches of ${options.batch_size}, ${held + 1} are needed (a smaller --batch-size needs fewer)`,
		);
	}
	if (resumed && first.width !== resumed.width) {
		throw core.usageError(
			`--resume continues the same run, but its rows had ${resumed.width} values and these have ${first.width}`,
		);
	}
	const training = kept.slice(held);
	return {
		width: first.width,
		type: first.type,
		heldOut: resumed?.heldOut ?? toFloat32(kept.slice(0, held)),
		sample: resumed ? new Float32Array() : toFloat32(training),
		batches: chain(training, reader),
	};
}

async function* chain(kept: readonly Batch[], reader: AsyncGenerator<RowBatch>): AsyncGenerator<Batch> {
	try {
		yield* kept;
		yield* reader;
	} finally {
		await reader.return(undefined);
	}
}

/** The rows of batches behind each other, widened. */
export function toFloat32(batches: readonly Pick<Batch, "data" | "type">[]): Float32Array {
	const joined = new Float32Array(batches.reduce((sum, batch) => sum + batch.data.length, 0));
	let at = 0;
	for (const { data, type } of batches) {
		joined.set(type === "float16" ? new Float16Array(data.buffer, data.byteOffset, data.length) : data, at);
		at += data.length;
	}
	return joined;
}

/** The scale that brings rows to a root mean square norm of 1. */
export function rmsScale(core: Core, sample: Float32Array, width: number): number {
	let square = 0;
	for (const value of sample) square += value * value;
	const rms = Math.sqrt((square * width) / sample.length);
	if (!(rms > 0))
		throw new core.SaeError("the first rows of the stream are all zero: nothing can be learned from them");
	return 1 / rms;
}
