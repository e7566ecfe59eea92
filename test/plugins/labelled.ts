/** Activations with further columns, and an SAE whose latents are the input's own dimensions. */
import { Field, makeData, RecordBatch, Schema, Struct, Utf8, vectorFromArray } from "apache-arrow";
import { activationsBatch, activationsSchema } from "../../core/arrow/activations.ts";
import type { SaeModel } from "../../core/sae.ts";
import type { RecordStream } from "../../core/stream.ts";

/** Rows [n, width] in batches of `size`, with columns of text beside them. */
export function labelledStream(
	rows: readonly (readonly number[])[],
	columns: Readonly<Record<string, readonly string[]>> = {},
	size = 64,
): RecordStream {
	const width = rows[0]?.length ?? 1;
	const plain = activationsSchema({ width, type: "float32" });
	const added = Object.keys(columns).map((name) => new Field(name, new Utf8()));
	const schema = new Schema([...plain.fields, ...added], plain.metadata);
	async function* batches() {
		for (let at = 0; at < rows.length; at += size) {
			const some = rows.slice(at, at + size);
			const data = Float32Array.from(some.flat());
			const batch = activationsBatch(plain, { data, rows: some.length, width, type: "float32" }, {}, at);
			const texts = Object.values(columns).map(
				(all) => vectorFromArray(all.slice(at, at + size), new Utf8()).data[0]!,
			);
			const type = new Struct(schema.fields);
			const children = [...batch.data.children, ...texts];
			yield new RecordBatch(
				schema,
				makeData({ type, length: some.length, nullCount: 0, children }),
				batch.metadata,
			);
		}
	}
	return { schema, batches: batches() };
}

/** TopK of the first k dimensions by value, with W_enc = W_dec = 1 and no biases; `decoder` replaces W_dec. */
export function identitySae(width: number, k: number, decoder?: readonly (readonly number[])[]): SaeModel {
	const eye = () => Float32Array.from({ length: width * width }, (_, i) => (i % (width + 1) === 0 ? 1 : 0));
	const tensors = {
		W_enc: { shape: [width, width], data: eye() },
		W_dec: { shape: [width, width], data: decoder ? Float32Array.from(decoder.flat()) : eye() },
		b_enc: { shape: [width], data: new Float32Array(width) },
		b_dec: { shape: [width], data: new Float32Array(width) },
	};
	const shape = {
		d_in: width,
		d_sae: width,
		apply_b_dec_to_input: true,
		normalize_activations: "none",
	} as const;
	return { ...shape, architecture: "topk", settings: { k }, metadata: {}, tensors };
}
