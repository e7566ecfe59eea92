/**
 * Where Arrow bytes come from: something read front to back, in pieces whose sizes the reader chooses. Pieces are
 * aligned buffers of their own, so that typed arrays can be laid over them without a copy.
 */
import { closeSync, createReadStream, fstatSync, openSync, read, readSync } from "node:fs";
import { promisify } from "node:util";
import { SaeError } from "../errors.ts";
import { FileBytes, openPath, statDescriptor } from "../files/bytes.ts";
import type { StreamInput } from "../stream.ts";

export interface ByteReader {
	/** What is read, for messages: a path or `stdin`. */
	readonly name: string;
	/** Bytes read or skipped so far. */
	readonly position: number;
	/** Total bytes, where known before reading them. */
	readonly size?: number;
	/** From where what has been read so far, and the rest, can be read by another thread. */
	again?(): StreamInput;
	/** The next `length` bytes, or as many as there are before the end. */
	read(length: number): Promise<Uint8Array>;
	/** As `read`, of readers that use one piece of memory again and again: valid until it is called again. */
	borrow?(length: number): Promise<Uint8Array>;
	/** Passes over `length` bytes; throws when there are fewer. */
	skip(length: number): Promise<void>;
	/** Bytes from anywhere, where the input can seek; does not move `position`. */
	readAt?(offset: number, length: number): Promise<Uint8Array>;
	close(): Promise<void>;
}

/** Smallest piece that is allocated on a header's word alone. */
const TRUSTED_BYTES = 1 << 20;

/** Reads a pipe, a socket or any other sequence of chunks. */
export class ChunkReader implements ByteReader {
	readonly name: string;
	position = 0;
	readonly #chunks: AsyncIterator<Uint8Array>;
	/** What is left of the last chunk. */
	#rest: Uint8Array = new Uint8Array(0);
	/** A piece this large has arrived before; larger claims are believed only as far as bytes arrive. */
	#trusted = TRUSTED_BYTES;

	constructor(name: string, chunks: AsyncIterable<Uint8Array>) {
		this.name = name;
		this.#chunks = chunks[Symbol.asyncIterator]();
	}

	async read(length: number): Promise<Uint8Array> {
		let piece = new Uint8Array(Math.min(length, this.#trusted));
		let filled = 0;
		while (filled < length && (await this.#fill())) {
			const take = Math.min(length - filled, this.#rest.length);
			if (filled + take > piece.length) piece = grow(piece, Math.min(length, 2 * (filled + take)));
			piece.set(this.#rest.subarray(0, take), filled);
			this.#consume(take);
			filled += take;
		}
		this.#trusted = Math.max(this.#trusted, filled);
		return piece.subarray(0, filled);
	}

	async skip(length: number): Promise<void> {
		for (let left = length; left > 0; ) {
			if (!(await this.#fill())) throw truncated(this);
			const take = Math.min(left, this.#rest.length);
			this.#consume(take);
			left -= take;
		}
	}

	async close(): Promise<void> {
		await this.#chunks.return?.();
	}

	/** Makes sure that `#rest` holds something; false at the end. */
	async #fill(): Promise<boolean> {
		while (this.#rest.length === 0) {
			const { done, value } = await this.#chunks.next();
			if (done) return false;
			this.#rest = value;
		}
		return true;
	}

	#consume(bytes: number): void {
		this.#rest = this.#rest.subarray(bytes);
		this.position += bytes;
	}
}

function grow(piece: Uint8Array, length: number): Uint8Array<ArrayBuffer> {
	const larger = new Uint8Array(length);
	larger.set(piece);
	return larger;
}

/** Reads a regular file; skipping costs nothing. */
export class FileReader implements ByteReader {
	readonly name: string;
	readonly size: number;
	position = 0;
	readonly #file: FileBytes;

	constructor(file: FileBytes) {
		this.name = file.name;
		this.size = file.size;
		this.#file = file;
	}

	async read(length: number): Promise<Uint8Array> {
		const piece = await this.#file.readAt(this.position, length);
		this.position += piece.length;
		return piece;
	}

	readAt(offset: number, length: number): Promise<Uint8Array> {
		return this.#file.readAt(offset, length);
	}

	again(): StreamInput {
		return { path: this.name, size: this.size };
	}

	async skip(length: number): Promise<void> {
		if (this.position + length > this.size) throw truncated(this);
		this.position += length;
	}

	close(): Promise<void> {
		return this.#file.close();
	}
}

/** Puts up to `length` bytes of a pipe at a place of `piece` and says how many; 0 at the end. */
type ReadSome = (
	descriptor: number,
	piece: Uint8Array,
	at: number,
	length: number,
) => Promise<number> | number;

/** For threads that do nothing but read. */
export const readBlocking: ReadSome = (descriptor, piece, at, length) =>
	readSync(descriptor, piece, at, length, null);

const readDescriptor = promisify(read);
const readBeside: ReadSome = async (descriptor, piece, at, length) =>
	(await readDescriptor(descriptor, piece, at, length, null)).bytesRead;

/** How long to wait where a pipe was set not to block and is empty. */
const EMPTY_MS = 1;

/** False where the descriptor is closed. */
export function isPipe(descriptor: number): boolean {
	try {
		return fstatSync(descriptor).isFIFO();
	} catch {
		return false;
	}
}

/** Reads a pipe, never more of it than is asked for: another thread can go on from there. */
export class PipeReader implements ByteReader {
	readonly name: string;
	position = 0;
	readonly #descriptor: number;
	readonly #readSome: ReadSome;
	/** What comes before the rest of the pipe. */
	#head: Uint8Array;
	/** What has been read, until somebody asks for it. */
	#taken: Uint8Array[] | undefined = [];
	#lent: Uint8Array = new Uint8Array(0);
	/** As of a {@link ChunkReader}. */
	#trusted = TRUSTED_BYTES;

	constructor(
		name: string,
		descriptor: number,
		readSome: ReadSome = readBeside,
		head: Uint8Array = new Uint8Array(0),
	) {
		this.name = name;
		this.#descriptor = descriptor;
		this.#readSome = readSome;
		this.#head = head;
		if (head.length > 0) this.#taken = undefined;
	}

	async read(length: number): Promise<Uint8Array> {
		const { piece, filled } = await this.#fill(new Uint8Array(Math.min(length, this.#trusted)), length);
		const whole = piece.subarray(0, filled);
		this.#taken?.push(whole);
		return whole;
	}

	async borrow(length: number): Promise<Uint8Array> {
		if (this.#lent.length === 0) this.#lent = new Uint8Array(TRUSTED_BYTES);
		const { piece, filled } = await this.#fill(this.#lent, length);
		this.#lent = piece;
		return piece.subarray(0, filled);
	}

	async skip(length: number): Promise<void> {
		for (let left = length; left > 0; ) {
			const { length: skipped } = await this.borrow(Math.min(left, TRUSTED_BYTES));
			if (skipped === 0) throw truncated(this);
			left -= skipped;
		}
	}

	again(): StreamInput {
		const head = new Uint8Array(Buffer.concat(this.#taken ?? []));
		this.#taken = undefined;
		return { descriptor: this.#descriptor, head };
	}

	async close(): Promise<void> {}

	/** Fills a piece, which grows only as bytes arrive, with up to `length` bytes. */
	async #fill(start: Uint8Array, length: number): Promise<{ piece: Uint8Array; filled: number }> {
		let piece = start;
		let filled = 0;
		while (filled < length) {
			if (filled === piece.length) piece = grow(piece, Math.min(length, 2 * filled));
			const bytes = await this.#some(piece, filled, Math.min(length, piece.length) - filled);
			if (bytes === 0) break;
			filled += bytes;
		}
		this.position += filled;
		this.#trusted = Math.max(this.#trusted, filled);
		return { piece, filled };
	}

	async #some(piece: Uint8Array, at: number, length: number): Promise<number> {
		if (this.#head.length > 0) {
			const part = this.#head.subarray(0, length);
			piece.set(part, at);
			this.#head = this.#head.subarray(part.length);
			return part.length;
		}
		for (;;) {
			try {
				return await this.#readSome(this.#descriptor, piece, at, length);
			} catch (error) {
				if ((error as NodeJS.ErrnoException).code !== "EAGAIN") throw error;
				await Bun.sleep(EMPTY_MS);
			}
		}
	}
}

/**
 * Reads a regular file without giving way to anything else, for threads that do nothing but read. What it lends lies
 * in one piece of memory, which stays in the processor's cache.
 */
export class BlockingFileReader implements ByteReader {
	readonly name: string;
	readonly size: number;
	position = 0;
	readonly #descriptor: number;
	#lent: Uint8Array = new Uint8Array(0);

	constructor(path: string) {
		this.name = path;
		this.#descriptor = openSync(path, "r");
		this.size = fstatSync(this.#descriptor).size;
	}

	async read(length: number): Promise<Uint8Array> {
		return this.#next(new Uint8Array(this.#there(length)));
	}

	async borrow(length: number): Promise<Uint8Array> {
		const there = this.#there(length);
		if (this.#lent.length < there) this.#lent = new Uint8Array(there);
		return this.#next(this.#lent.subarray(0, there));
	}

	async readAt(offset: number, length: number): Promise<Uint8Array> {
		return this.#fill(new Uint8Array(Math.max(0, Math.min(length, this.size - offset))), offset);
	}

	async skip(length: number): Promise<void> {
		if (this.position + length > this.size) throw truncated(this);
		this.position += length;
	}

	async close(): Promise<void> {
		closeSync(this.#descriptor);
	}

	#there(length: number): number {
		return Math.min(length, this.size - this.position);
	}

	#next(piece: Uint8Array): Uint8Array {
		const filled = this.#fill(piece, this.position);
		this.position += filled.length;
		return filled;
	}

	#fill(piece: Uint8Array, offset: number): Uint8Array {
		let filled = 0;
		while (filled < piece.length) {
			const bytes = readSync(this.#descriptor, piece, filled, piece.length - filled, offset + filled);
			if (bytes === 0) break;
			filled += bytes;
		}
		return piece.subarray(0, filled);
	}
}

/** Opens a path: a regular file, or whatever else can be read front to back (a named pipe, /dev/fd/N). */
export async function openBytes(path: string): Promise<ByteReader> {
	const descriptor = await openPath(path);
	const status = await statDescriptor(descriptor);
	if (status.isFile()) return new FileReader(new FileBytes(path, status.size, descriptor));
	if (!status.isDirectory()) return new ChunkReader(path, createReadStream(path, { fd: descriptor }));
	closeSync(descriptor);
	throw new SaeError(`${path}: is a folder, not a file`);
}

/** The whole of `length` bytes, or an error that the stream stopped early; borrowed ones where the reader lends. */
export async function readExactly(reader: ByteReader, length: number, borrowed = false): Promise<Uint8Array> {
	const piece = await (borrowed && reader.borrow ? reader.borrow(length) : reader.read(length));
	if (piece.length < length) throw truncated(reader);
	return piece;
}

function truncated(reader: ByteReader): SaeError {
	return new SaeError(
		`${reader.name}: ends at byte ${reader.position}, in the middle of a message; the file is cut off or its producer was stopped`,
	);
}
