/** Arrow files whose rows are read in any order, by the index in their footer. */
import { Message, type RecordBatch, type Schema } from "apache-arrow";
import { Footer } from "apache-arrow/ipc/metadata/file";
import type { RecordBatch as BatchHeader } from "apache-arrow/ipc/metadata/message";
import { isSaeError, SaeError } from "../errors.ts";
import { openFile, readFully } from "../files/bytes.ts";
import { makeBatch, sliceBatch } from "./batch.ts";
import { checkFooter, checkMessage } from "./flatbuffer.ts";
import { loadColumns } from "./load.ts";

export interface ArrowFile {
	readonly schema: Schema;
	readonly rows: number;
	/** Rows `from` to `to` (exclusive) as batches. Only the batches that they lie in are read. */
	readRows(from: number, to: number): Promise<RecordBatch[]>;
	close(): Promise<void>;
}

/** Where a batch lies. */
interface Place {
	readonly header: BatchHeader;
	/** Its first row. */
	readonly first: number;
	/** Offset of its body. */
	readonly offset: number;
	readonly bytes: number;
}

/** The magic at both ends of a file: six bytes, at its beginning with two more to fill a word. */
const MAGIC = "ARROW1";
const TRAILER_BYTES = 4 + MAGIC.length;

/**
 * Opens a file in Arrow's file format and reads the headers of its batches.
 * @throws SaeError when it is not in that format, is damaged, or has dictionaries.
 */
export async function openArrowFile(path: string): Promise<ArrowFile> {
	const file = await openFile(path);
	const damaged = (why: string) =>
		new SaeError(`${path}: this Arrow file is damaged (${why}); make it again`);
	try {
		const footer = await readFooter();
		const { schema } = footer;
		if (schema.dictionaries.size > 0) {
			throw new SaeError(`${path}: has columns with dictionaries, which are only read front to back`);
		}
		const places: Place[] = [];
		let rows = 0;
		for (const block of decoded(() => [...footer.recordBatches()])) {
			const { offset, metaDataLength } = block;
			const header = await readHeader(offset, metaDataLength);
			const start = offset + metaDataLength;
			if (block.bodyLength < 0 || start + block.bodyLength > file.size)
				throw damaged("a batch lies outside it");
			if (header.length < 0) throw damaged("a batch has a negative length");
			places.push({ header, first: rows, offset: start, bytes: block.bodyLength });
			rows += header.length;
		}
		return {
			schema,
			rows,
			async readRows(from, to) {
				const batches: RecordBatch[] = [];
				for (const { header, first, offset, bytes } of places.slice(lastUpTo(places, from))) {
					if (first >= to) break;
					const body = await readFully(file, offset, bytes);
					const columns = decoded(() =>
						loadColumns(
							{ header, bytes: body, dictionaries: new Map(), version: schema.metadataVersion, name: path },
							schema.fields,
						),
					);
					const batch = makeBatch(schema, header.length, columns);
					batches.push(sliceBatch(batch, Math.max(0, from - first), Math.min(header.length, to - first)));
				}
				return batches;
			},
			close: () => file.close(),
		};
	} catch (error) {
		await file.close();
		throw error;
	}

	/** It ends the file: footer, its length (int32), magic. */
	async function readFooter(): Promise<Footer> {
		const trailer = await readFully(file, Math.max(0, file.size - TRAILER_BYTES), TRAILER_BYTES);
		if (new TextDecoder().decode(trailer.subarray(4)) !== MAGIC) throw damaged("it has no footer");
		const length = new DataView(trailer.buffer, trailer.byteOffset).getInt32(0, true);
		if (length <= 0 || length > file.size - TRAILER_BYTES) throw damaged("its footer has no length");
		const bytes = await readFully(file, file.size - TRAILER_BYTES - length, length);
		checkFooter(bytes, path);
		return decoded(() => Footer.decode(bytes) as Footer);
	}

	/** The header of a batch: its length, after a marker since Arrow 0.15, then the message. */
	async function readHeader(offset: number, length: number): Promise<BatchHeader> {
		if (offset < 0 || length < 8) throw damaged("a batch lies outside it");
		const bytes = await readFully(file, offset, length);
		const marked = new DataView(bytes.buffer, bytes.byteOffset).getInt32(0, true) === -1;
		const message = bytes.slice(marked ? 8 : 4);
		checkMessage(message, path);
		return decoded(() => {
			const decodedMessage = Message.decode(message);
			if (!decodedMessage.isRecordBatch()) throw damaged("its index names what is no batch");
			return decodedMessage.header() as BatchHeader;
		});
	}

	/** Runs apache-arrow's decoding; what it throws at data that passed our checks means damage all the same. */
	function decoded<T>(decode: () => T): T {
		try {
			return decode();
		} catch (error) {
			throw isSaeError(error) ? error : damaged((error as Error).message);
		}
	}
}

/** The index of the last place whose first row is not after `row`; 0 when there is none. */
function lastUpTo(places: readonly Place[], row: number): number {
	let [low, high] = [0, places.length];
	while (high - low > 1) {
		const middle = (low + high) >> 1;
		if (places[middle]!.first <= row) low = middle;
		else high = middle;
	}
	return low;
}
