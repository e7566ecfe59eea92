/** The rows of a run: a sample to start from, rows held out, and the batches to train on, until it is stopped. */
import type { Core, RecordStream, RowBatch, RunState, TrainJob, WholeRows } from "saeflow";
import type { TrainerOptions } from "../trainer.ts";
import { until } from "./until.ts";

/** A batch that is safe to keep until the next but one is asked for. */
export type Batch = RowBatch;

/** Which columns of the stream are read. */
export interface Columns {
	readonly inputs: readonly string[];
	readonly targets?: readonly string[] | undefined;
	readonly layers?: string | undefined;
}

/** Widths of the columns, side by side. */
export interface Widths {
	readonly inputs: readonly number[];
	readonly targets?: readonly number[] | undefined;
}

export interface TrainingRows {
	readonly columns: Columns;
	readonly widths: Widths;
	readonly type: RowBatch["type"];
	/** Rows held out, a whole number of batches. */
	readonly heldOut: WholeRows;
	/** First rows of training; none for a resumed run. */
	readonly sample: WholeRows;
	readonly batches: AsyncGenerator<Batch>;
}

/** Where a resumed run goes on. */
export interface Resumed {
	readonly position: number;
	readonly heldOut: WholeRows;
	readonly scales: RunState["scales"];
}

/** d_in and d_out. */
export function sizesOf({ inputs, targets = inputs }: Widths): { d_in: number; d_out: number } {
	const sum = (widths: readonly number[]) => widths.reduce((total, width) => total + width, 0);
	return { d_in: sum(inputs), d_out: sum(targets) };
}

/**
 * Opens the stream at `start` and reads what the run needs before its first step. Held-out rows are the first ones
 * of the shuffled order; a resumed run brings them along, and its widths, since there may be no row left for them.
 */
export async function openRows(
	core: Core,
	job: TrainJob,
	options: TrainerOptions,
	resumed: Resumed | undefined,
	signal: AbortSignal,
): Promise<TrainingRows> {
	const { SaeError, EXIT } = core;
	const columns = columnsOf(core, job);
	const how = {
		columns: columns.inputs,
		targets: columns.targets,
		layers: columns.layers,
		batchSize: options.batch_size,
	};
	const reader = until(
		core.readRows(job.stream, {
			...how,
			shuffleBlock: options.shuffle_buffer,
			seed: options.seed,
			start: resumed?.position ?? 0,
			dropShort: true,
		}),
		signal,
	);
	if (job.evaluation && options.eval_rows > 0) {
		throw core.usageError("rows to evaluate on come from --eval or are held out by --eval-rows, not both");
	}
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
				"the stream repeats its rows (--epochs), so none of them can be held out with --eval-rows; name other rows with --eval",
				EXIT.usage,
			);
		}
	}
	const wanted = resumed ? 1 : held + Math.ceil(options.sample_rows / options.batch_size);
	const kept: Batch[] = [];
	while (kept.length < wanted) {
		const { value, done } = await reader.next();
		if (done) break;
		kept.push(copied(value));
	}
	signal.throwIfAborted();
	if (!resumed && kept.length <= held) {
		throw new SaeError(
			`the stream has too few rows: ${kept.length} batches of ${options.batch_size}, ${held + 1} are needed (a smaller --batch-size needs fewer)`,
		);
	}
	const evaluation = job.evaluation && !resumed ? await wholeBatches(core, job.evaluation, how) : undefined;
	const [first] = kept;
	const widths = first ? { inputs: first.widths, targets: first.targets?.widths } : widthsOf(resumed!.scales);
	if (resumed) checkWidths(core, widthsOf(resumed.scales), widths);
	const training = kept.slice(held);
	return {
		columns,
		widths,
		type: first?.type ?? "float32",
		heldOut: resumed?.heldOut ?? evaluation ?? wholeRows(kept.slice(0, held)),
		sample: wholeRows(resumed ? [] : training),
		batches: chain(training, reader),
	};
}

/** All rows of a stream that fill whole batches. */
async function wholeBatches(
	core: Core,
	stream: RecordStream,
	how: Omit<Parameters<Core["readRows"]>[1], "dropShort">,
): Promise<WholeRows> {
	const batches: Batch[] = [];
	for await (const batch of core.readRows(stream, { ...how, dropShort: true })) batches.push(copied(batch));
	if (batches.length === 0) {
		throw new core.SaeError(`the rows to evaluate on are less than one batch of ${how.batchSize}`);
	}
	return wholeRows(batches);
}

function columnsOf(
	{ findVectorField, usageError }: Core,
	{ stream, columns, targets, layers }: TrainJob,
): Columns {
	const found = (names: readonly string[]) => names.map((name) => findVectorField(stream.schema, name).name);
	const inputs = columns ? found(columns) : [findVectorField(stream.schema).name];
	if (layers !== undefined && (targets || inputs.length > 1)) {
		throw usageError(
			"layers have scales of their own (--per-layer) only where one column is read and no --target",
		);
	}
	return { inputs, targets: targets && found(targets), layers };
}

function copied({ targets, ...batch }: Batch): Batch {
	return {
		...batch,
		data: batch.data.slice(),
		...(targets && { targets: { ...targets, data: targets.data.slice() } }),
		...(batch.layers && { layers: batch.layers.slice() }),
	};
}

function widthsOf({ inputs, targets }: RunState["scales"]): Widths {
	const width = (column: { readonly width: number }) => column.width;
	return { inputs: inputs.map(width), targets: targets?.map(width) };
}

function checkWidths({ usageError }: Core, before: Widths, now: Widths): void {
	for (const [what, was, is] of [
		["rows", before.inputs, now.inputs],
		["targets", before.targets, now.targets],
	] as const) {
		if (was?.join() === is?.join()) continue;
		throw usageError(
			`--resume continues the same run, but its ${what} had ${was?.join(" + ")} values and these have ${is?.join(" + ")}`,
		);
	}
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
export function wholeRows(batches: readonly Batch[]): WholeRows {
	const [first] = batches;
	return {
		inputs: joined(batches),
		...(first?.targets && { targets: joined(batches.map(({ targets }) => targets!)) }),
		...(first?.layers && { layers: Uint32Array.from(batches.flatMap(({ layers }) => [...layers!])) }),
	};
}

function joined(parts: readonly Pick<Batch, "data" | "type">[]): Float32Array {
	const all = new Float32Array(parts.reduce((sum, { data }) => sum + data.length, 0));
	let at = 0;
	for (const { data, type } of parts) {
		all.set(type === "float16" ? new Float16Array(data.buffer, data.byteOffset, data.length) : data, at);
		at += data.length;
	}
	return all;
}
