/** Features as a table that can be read: some of the columns, and of each example its own token. */
import { type RecordBatch, Schema } from "apache-arrow";
import { makeBatch } from "../../core/arrow/batch.ts";
import type { RecordStream } from "../../core/stream.ts";

const SHOWN = ["latent", "density", "max", "top", "top_logits", "nearest", "cooccurring"];

export function forTheEye({ schema, batches }: RecordStream): RecordStream {
	const places = SHOWN.map((name) => schema.fields.findIndex((field) => field.name === name));
	const narrow = new Schema(
		places.map((place) => schema.fields[place]!),
		schema.metadata,
	);
	return { schema: narrow, batches: narrowed(batches, narrow, places) };
}

async function* narrowed(
	batches: AsyncIterable<RecordBatch>,
	schema: Schema,
	places: readonly number[],
): AsyncGenerator<RecordBatch> {
	for await (const batch of batches) {
		yield makeBatch(
			schema,
			batch.numRows,
			places.map((place) => batch.data.children[place]!),
		);
	}
}
