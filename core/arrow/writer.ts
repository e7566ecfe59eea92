/** Writes Arrow IPC: the stream format to stdout, the file format to files. Never compressed (compression.ts). */
import {
	AsyncByteQueue,
	Message,
	RecordBatch,
	RecordBatchFileWriter,
	RecordBatchStreamWriter,
	type Schema,
	util,
} from "apache-arrow";
import { SaeError } from "../errors.ts";
import { writeAtomically } from "../files/atomic.ts";
import type { RecordStream } from "../stream.ts";

const SMALL_BYTES = 16384;

/** Takes bytes; a write resolves when more may follow. */
export interface ByteSink {
	write(bytes: Uint8Array): Promise<void>;
}

/** Writes one stream, batch by batch. `end` must be called for readers to accept it. */
export class ArrowWriter {
	readonly #schema: Schema;
	readonly #sink: ByteSink;
	readonly #pieces = new Pieces();
	readonly #writer: RecordBatchStreamWriter | RecordBatchFileWriter;

	constructor(schema: Schema, sink: ByteSink, format: "stream" | "file" = "stream") {
		this.#schema = schema;
		this.#sink = sink;
		this.#writer = format === "file" ? new FileWriter() : new RecordBatchStreamWriter();
		this.#writer.reset(this.#pieces, schema);
	}

	/** Writes a batch. Its columns must have the schema's types; nothing is copied. */
	async write(batch: RecordBatch): Promise<void> {
		const { compareTypes } = util;
		const { fields } = this.#schema;
		const children = batch.data.children;
		if (
			children.length !== fields.length ||
			!fields.every((f, i) => compareTypes(f.type, children[i]!.type))
		) {
			throw new SaeError(
				`a batch has the columns (${batch.schema.fields.join(", ")}), but the stream began with (${fields.join(", ")})`,
			);
		}
		// Metadata may differ from batch to batch; apache-arrow would end the stream over it.
		this.#writer.write(new RecordBatch(this.#schema, batch.data, batch.metadata));
		await this.#flush();
	}

	/** Writes the end-of-stream marker, and the footer of a file. */
	async end(): Promise<void> {
		this.#writer.reset(this.#pieces);
		await this.#flush();
	}

	async #flush(): Promise<void> {
		for (const chunk of joinSmall(this.#pieces.take())) await this.#sink.write(chunk);
	}
}

/** Joins runs of small pieces (prefixes, metadata, padding), which would cost a system call each. */
function joinSmall(pieces: readonly Uint8Array[]): Uint8Array[] {
	const chunks: Uint8Array[] = [];
	let small: Uint8Array[] = [];
	for (const piece of pieces) {
		if (piece.length <= SMALL_BYTES) {
			small.push(piece);
			continue;
		}
		if (small.length > 0) chunks.push(Buffer.concat(small));
		small = [];
		chunks.push(piece);
	}
	if (small.length > 0) chunks.push(Buffer.concat(small));
	return chunks;
}

/** What apache-arrow has written and we have not passed on: views of the batch's own buffers. */
class Pieces extends AsyncByteQueue {
	#pieces: Uint8Array[] = [];

	override write(piece: ArrayBufferView | ArrayBufferLike): void {
		this.#pieces.push(util.toUint8Array(piece));
	}

	take(): Uint8Array[] {
		const pieces = this.#pieces;
		this.#pieces = [];
		return pieces;
	}
}

/** Puts the schema in front too, as other libraries do, so that a file can be read as it comes through a pipe. */
class FileWriter extends RecordBatchFileWriter {
	protected override _writeSchema(schema: Schema): this {
		super._writeSchema(schema);
		return this._writeMessage(Message.from(schema));
	}
}

/** Writes a whole stream. */
export async function writeArrow(
	stream: RecordStream,
	sink: ByteSink,
	format: "stream" | "file" = "stream",
): Promise<void> {
	const writer = new ArrowWriter(stream.schema, sink, format);
	for await (const batch of stream.batches) await writer.write(batch);
	await writer.end();
}

/** Writes an Arrow file; `path` appears only when it is complete. */
export async function writeArrowFile(stream: RecordStream, path: string): Promise<void> {
	await writeAtomically(path, (append) => writeArrow(stream, { write: append }, "file"));
}
