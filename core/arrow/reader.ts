/**
 * Reads Arrow IPC, the stream format and the file format, from anything. The framing is ours rather than
 * apache-arrow's, which takes a stream without its end for a whole one, believes every size in a header, and may
 * hand out values that are not aligned.
 */
import { Message, type RecordBatch, type Schema, Vector } from "apache-arrow";
import { Footer } from "apache-arrow/ipc/metadata/file";
import type {
	RecordBatch as BatchHeader,
	DictionaryBatch as DictionaryHeader,
} from "apache-arrow/ipc/metadata/message";
import { isSaeError, SaeError } from "../errors.ts";
import type { RecordStream } from "../stream.ts";
import { makeBatch, sliceBatch } from "./batch.ts";
import { type ByteReader, ChunkReader, isPipe, openBytes, PipeReader, readExactly } from "./bytes.ts";
import { checkFooter, checkMessage } from "./flatbuffer.ts";
import { loadColumns, loadDictionary, MAX_BODY_BYTES } from "./load.ts";

const MAX_METADATA_BYTES = 64 * 2 ** 20;
const FILE_MAGIC = "ARROW1";
const CONTINUATION = -1;
const STDIN = 0;

/** The stream on standard input. Reading stops it from being read elsewhere. */
export function readArrowStdin(): Promise<RecordStream> {
	if (process.stdin.isTTY) {
		throw new SaeError("stdin is a terminal: pipe an Arrow stream in, e.g. from `sae activations … |`");
	}
	return readArrow(
		isPipe(STDIN) ? new PipeReader("stdin", STDIN) : new ChunkReader("stdin", Bun.stdin.stream()),
	);
}

/** The stream in a file, a named pipe or, for `-`, standard input; `start` as for {@link readArrow}. */
export async function openArrow(path: string, start = 0): Promise<RecordStream> {
	return path === "-" ? readArrowStdin() : readArrow(await openBytes(path), start);
}

/** The stream made by chunks of bytes. `name` stands for it in messages. */
export function readArrowChunks(chunks: AsyncIterable<Uint8Array>, name = "input"): Promise<RecordStream> {
	return readArrow(new ChunkReader(name, chunks));
}

/**
 * Reads the schema and returns the stream, whose batches can be iterated once. Values lie directly over the
 * bytes that were read. Closes `input` at the end, on failure, and when the consumer stops early.
 *
 * @param start rows to pass over; whole batches before it are skipped without being read, where the input seeks.
 */
export async function readArrow(input: ByteReader, start = 0): Promise<RecordStream> {
	const { schema, parts } = await readArrowParts(input);
	const stream = { schema, batches: batchesFrom(parts, start) };
	const again = start === 0 ? input.again?.() : undefined;
	return again ? { ...stream, input: again } : stream;
}

/** One batch of a stream, read only when it is asked for. */
export interface BatchPart {
	readonly rows: number;
	readonly metadata: ReadonlyMap<string, string>;
	/** May be called once, before the next part is asked for. */
	load(): Promise<RecordBatch>;
}

/**
 * As {@link readArrow}, with batches that are passed over unless they are loaded.
 *
 * @param lent whether a batch is valid only until the next one is loaded, where the input can use its memory again.
 */
export async function readArrowParts(
	input: ByteReader,
	lent = false,
): Promise<{ schema: Schema; parts: AsyncGenerator<BatchPart> }> {
	const reader = new ArrowReader(input, lent);
	try {
		return { schema: await reader.open(), parts: partsOf(reader) };
	} catch (error) {
		await input.close();
		throw error;
	}
}

/** The schema and the number of rows of an Arrow file, from its headers alone. Fails where the file is cut off. */
export async function scanArrow(path: string): Promise<{ schema: Schema; rows: number }> {
	const input = await openBytes(path);
	try {
		const reader = new ArrowReader(input);
		const schema = await reader.open();
		let rows = 0;
		for (let next = await reader.next(); next; next = await reader.next()) {
			rows += next.header.length;
			await input.skip(next.bodyLength);
		}
		return { schema, rows };
	} finally {
		await input.close();
	}
}

async function* partsOf(reader: ArrowReader): AsyncGenerator<BatchPart> {
	try {
		for (let next = await reader.next(); next; next = await reader.next()) {
			const pending = next;
			let loaded = false;
			yield {
				rows: pending.header.length,
				metadata: pending.metadata,
				load() {
					loaded = true;
					return reader.load(pending);
				},
			};
			if (!loaded) await reader.input.skip(pending.bodyLength);
		}
	} finally {
		await reader.input.close();
	}
}

async function* batchesFrom(parts: AsyncGenerator<BatchPart>, start: number): AsyncGenerator<RecordBatch> {
	let skip = start;
	for await (const part of parts) {
		if (skip > 0 && part.rows <= skip) {
			skip -= part.rows;
			continue;
		}
		const batch = await part.load();
		yield skip > 0 ? sliceBatch(batch, skip) : batch;
		skip = 0;
	}
}

/** A batch whose body has not been read yet. */
interface PendingBatch {
	readonly header: BatchHeader;
	readonly bodyLength: number;
	readonly metadata: Map<string, string>;
}

class ArrowReader {
	readonly input: ByteReader;
	#schema: Schema | undefined;
	readonly #dictionaries = new Map<number, Vector>();
	#isFile = false;
	/** Bytes read while looking at how the input begins; they belong to the first message. */
	#peeked: Uint8Array | undefined;

	readonly #lent: boolean;

	constructor(input: ByteReader, lent = false) {
		this.input = input;
		this.#lent = lent;
	}

	/** Reads as far as the schema. */
	async open(): Promise<Schema> {
		const { input } = this;
		const first = await input.read(8);
		if (first.length === 0) throw new SaeError(`${input.name}: is empty; its producer wrote nothing`);
		if (first.length < 8) throw this.#notArrow(first);
		this.#isFile = new TextDecoder().decode(first.subarray(0, 6)) === FILE_MAGIC;
		if (this.#isFile && input.readAt) this.#schema = await this.#footerSchema();
		if (!this.#isFile) {
			const view = new DataView(first.buffer);
			const continued = view.getInt32(0, true) === CONTINUATION;
			const length = view.getInt32(continued ? 4 : 0, true);
			if (length <= 0 || length > MAX_METADATA_BYTES)
				throw continued ? this.#damaged() : this.#notArrow(first);
			this.#peeked = first;
		}
		if (!this.#schema) {
			const message = await this.#message();
			if (!message?.isSchema()) {
				throw new SaeError(
					`${input.name}: does not begin with a schema; save it to a file and give its path, or send the stream format`,
				);
			}
			this.#schema = this.#decode(() => message.header() as Schema);
		}
		return this.#schema;
	}

	/** The next batch's header, dictionaries before it being read on the way; undefined at the end. */
	async next(): Promise<PendingBatch | undefined> {
		for (;;) {
			const message = await this.#message();
			if (!message) {
				await this.#end();
				return undefined;
			}
			if (message.isRecordBatch()) {
				const header = this.#decode(() => message.header() as BatchHeader);
				return { header, bodyLength: message.bodyLength, metadata: message.metadata };
			}
			if (message.isDictionaryBatch()) {
				const header = this.#decode(() => message.header() as DictionaryHeader);
				await this.#dictionary(header, message.bodyLength);
			} else {
				// Files may repeat their schema; anything else carries nothing for us.
				await this.input.skip(message.bodyLength);
			}
		}
	}

	async load({ header, bodyLength, metadata }: PendingBatch): Promise<RecordBatch> {
		const schema = this.#schema!;
		const bytes = await readExactly(this.input, bodyLength, this.#lent);
		const children = this.#decode(() => loadColumns(this.#body(header, bytes), schema.fields));
		return makeBatch(schema, header.length, children, metadata);
	}

	async #dictionary(header: DictionaryHeader, bodyLength: number): Promise<void> {
		const type = this.#schema!.dictionaries.get(header.id);
		const bytes = await readExactly(this.input, bodyLength);
		if (!type) throw this.#damaged();
		const data = this.#decode(() => loadDictionary(this.#body(header.data, bytes), type));
		const before = header.isDelta ? this.#dictionaries.get(header.id) : undefined;
		this.#dictionaries.set(header.id, before ? before.concat(new Vector([data])) : new Vector([data]));
	}

	#body(header: BatchHeader, bytes: Uint8Array) {
		const version = this.#schema!.metadataVersion;
		return { header, bytes, dictionaries: this.#dictionaries, version, name: this.input.name };
	}

	/** The next message's metadata; undefined at the end-of-stream marker. */
	async #message(): Promise<Message | undefined> {
		const prefix = await this.#prefix();
		if (prefix.length === 0) return undefined;
		if (prefix.length > MAX_METADATA_BYTES || prefix.length < prefix.start.length) throw this.#damaged();
		const rest = await readExactly(this.input, prefix.length - prefix.start.length);
		const bytes = prefix.start.length === 0 ? rest : Buffer.concat([prefix.start, rest]);
		checkMessage(bytes, this.input.name);
		const message = this.#decode(() => Message.decode(bytes));
		const left = (this.input.size ?? Number.POSITIVE_INFINITY) - this.input.position;
		if (message.bodyLength < 0 || message.bodyLength > Math.min(MAX_BODY_BYTES, left)) {
			throw new SaeError(
				`${this.input.name}: a message claims ${message.bodyLength} bytes, more than ${left < MAX_BODY_BYTES ? "the file has left; it is cut off or damaged" : "2 GiB; write smaller batches"}`,
			);
		}
		return message;
	}

	/** The length of the next metadata. Before Arrow 0.15 it stood alone, without the continuation marker. */
	async #prefix(): Promise<{ length: number; start: Uint8Array }> {
		const none = new Uint8Array(0);
		const peeked = this.#peeked;
		this.#peeked = undefined;
		const word = peeked?.subarray(0, 4) ?? (await this.input.read(4));
		if (word.length < 4) {
			throw new SaeError(
				`${this.input.name}: ends at byte ${this.input.position} without Arrow's end-of-stream marker; its producer was stopped before it was done`,
			);
		}
		const length = int32(word);
		if (length !== CONTINUATION)
			return { length: length < 0 ? Infinity : length, start: peeked?.subarray(4) ?? none };
		const after = int32(peeked?.subarray(4) ?? (await readExactly(this.input, 4)));
		return { length: after < 0 ? Infinity : after, start: none };
	}

	/** After the end-of-stream marker: nothing in a stream, the footer and the magic in a file. */
	async #end(): Promise<void> {
		if (this.#isFile) {
			let last: Uint8Array = new Uint8Array(0);
			for (let piece = await this.input.read(65536); piece.length > 0; piece = await this.input.read(65536)) {
				last = Buffer.concat([last.subarray(-FILE_MAGIC.length), piece]);
			}
			if (new TextDecoder().decode(last.subarray(-FILE_MAGIC.length)) !== FILE_MAGIC) throw this.#damaged();
		} else if ((await this.input.read(1)).length > 0) {
			throw new SaeError(
				`${this.input.name}: more data follows the end-of-stream marker; joined streams are not one stream, give the files to \`sae activations file\` instead`,
			);
		}
	}

	/** The schema of an IPC file, from the footer that ends it: footer, its length (int32), magic. */
	async #footerSchema(): Promise<Schema> {
		const { input } = this;
		const size = input.size ?? 0;
		const trailer = size < 20 ? new Uint8Array(0) : await input.readAt!(size - 10, 10);
		if (new TextDecoder().decode(trailer.subarray(4)) !== FILE_MAGIC) {
			throw new SaeError(
				`${input.name}: this Arrow file has no footer; it is cut off or still being written`,
			);
		}
		const length = int32(trailer.subarray(0, 4));
		if (length <= 0 || length > Math.min(size - 18, MAX_METADATA_BYTES)) throw this.#damaged();
		const bytes = await input.readAt!(size - 10 - length, length);
		checkFooter(bytes, input.name);
		return this.#decode(() => Footer.decode(bytes).schema);
	}

	/** Runs apache-arrow's decoding; what it throws at data that passed our checks means damage all the same. */
	#decode<T>(decode: () => T): T {
		try {
			return decode();
		} catch (error) {
			if (isSaeError(error)) throw error;
			throw new SaeError(
				`${this.input.name}: this Arrow data is damaged or uses a feature that can't be read (${(error as Error).message})`,
			);
		}
	}

	#damaged(): SaeError {
		return new SaeError(`${this.input.name}: this Arrow data is damaged; make it again`);
	}

	#notArrow(first: Uint8Array): SaeError {
		// Nothing that a terminal might act on.
		const start = String.fromCharCode(...first).replace(/[^ -~]/g, "·");
		return new SaeError(
			`${this.input.name}: is not Arrow IPC (it begins with "${start}"); other formats are read by \`sae activations file\``,
		);
	}
}

function int32(bytes: Uint8Array): number {
	return new DataView(bytes.buffer, bytes.byteOffset).getInt32(0, true);
}
