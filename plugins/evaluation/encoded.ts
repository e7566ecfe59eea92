/** One pass of an SAE over a stream, as evaluators make it. */
import type { RecordBatch } from "apache-arrow";
import type { Codes, Context, Core, RecordStream, SaeModel } from "saeflow";

/** Options of that pass; `rows`: how many to read unless told otherwise. */
export function passOptions({ z, columnNames }: Core, rows: number) {
	return {
		column: columnNames
			.optional()
			.meta({ hint: "NAME,..." })
			.describe("Columns of vectors; by default those that the SAE was trained on, or the only one there is"),
		k: z.int().min(1).optional().describe("Latents per row, instead of the SAE's own k"),
		limit: z.int().min(1).default(rows).describe("Stop after this many rows"),
	};
}

/** For evaluators that compare reconstructions with what they should be. */
export function targetOption({ columnNames }: Core) {
	return columnNames
		.optional()
		.meta({ hint: "NAME,..." })
		.describe("Columns to compare reconstructions with; by default those that the SAE was trained on");
}

export interface PassOptions {
	readonly column?: readonly string[] | undefined;
	readonly target?: readonly string[] | undefined;
	readonly k?: number | undefined;
	readonly limit: number;
}

/** A batch of rows as the SAE sees them. */
export interface EncodedBatch {
	readonly batch: RecordBatch;
	readonly rows: number;
	readonly codes: Codes;
	/** What is encoded [rows, d_in]. */
	readonly inputs: Float32Array;
	/** What it is to reconstruct [rows, d_out]. */
	targets(): Float32Array;
	/** Reconstructions [rows, d_out] from these codes, or from others of the same rows. */
	decode(codes?: Codes): Promise<Float32Array>;
}

/** The batches that have rows, up to the first `limit` rows. */
export async function* firstRows(
	{ sliceBatch }: Core,
	{ batches }: RecordStream,
	limit: number,
): AsyncGenerator<RecordBatch> {
	let left = limit;
	for await (const batch of batches) {
		if (batch.numRows === 0) continue;
		const rows = Math.min(batch.numRows, left);
		yield sliceBatch(batch, 0, rows);
		left -= rows;
		if (left === 0) return;
	}
}

/**
 * Encodes the first `limit` rows of a stream, batch by batch, one ahead of whoever looks at them.
 *
 * @throws SaeError for a stream without rows, or with columns that the SAE can't take.
 */
export async function* encoded(
	core: Core,
	model: SaeModel,
	stream: RecordStream,
	{ column, target, k, limit }: PassOptions,
	{ openSae, signal, log }: Context,
): AsyncGenerator<EncodedBatch> {
	const reader = core.saeReader(stream.schema, model, { columns: column, targets: target });
	const runtime = await openSae(model, { k });
	let seen = 0;
	const batches = core.overlapped(firstRows(core, stream, limit), async (batch, taken) => {
		// Streams that come to evaluators are of new memory for every batch.
		taken();
		const { inputs, rows, targets, restored } = reader.read(batch);
		const codes = await runtime.encode(inputs, rows);
		const decode = async (own = codes) => restored(await runtime.decode(own, inputs));
		return { batch, rows, codes, inputs: core.widened(inputs), targets, decode };
	});
	try {
		for await (const batch of batches) {
			signal.throwIfAborted();
			yield batch;
			seen += batch.rows;
			log.progress(`${seen} rows`);
		}
	} finally {
		runtime.close();
	}
	if (seen === 0) throw new core.SaeError("the stream has no rows to evaluate on");
}
