/** Bytes that can be read from anywhere in them: a file, a part of one, or something compressed inside one. */
import { close, fstat, open, read } from "node:fs";
import { pipeline, Readable } from "node:stream";
import { promisify } from "node:util";
import { createGunzip, createInflateRaw } from "node:zlib";
import { SaeError } from "../errors.ts";
import { MAX_CALL_BYTES } from "./atomic.ts";
import { type Bytes, readFully } from "./readable.ts";

export { type Bytes, readFully };

// Plain descriptors rather than FileHandles: Bun ends the process over a FileHandle that is collected unclosed, as
// one may be when a stream is opened and then not read.
const openDescriptor = promisify(open);
const readDescriptor = promisify(read);
const closeDescriptor = promisify(close);
export const statDescriptor = promisify(fstat);

/** An open file. */
export class FileBytes implements Bytes {
	readonly name: string;
	readonly size: number;
	readonly #descriptor: number;
	#closed = false;

	constructor(name: string, size: number, descriptor: number) {
		this.name = name;
		this.size = size;
		this.#descriptor = descriptor;
	}

	async readAt(offset: number, length: number): Promise<Uint8Array> {
		const piece = new Uint8Array(Math.max(0, Math.min(length, this.size - offset)));
		let filled = 0;
		while (filled < piece.length) {
			const left = Math.min(piece.length - filled, MAX_CALL_BYTES);
			const { bytesRead } = await readDescriptor(this.#descriptor, piece, filled, left, offset + filled);
			if (bytesRead === 0) break;
			filled += bytesRead;
		}
		return piece.subarray(0, filled);
	}

	async close(): Promise<void> {
		// The number may already stand for another file when it is closed a second time.
		if (this.#closed) return;
		this.#closed = true;
		await closeDescriptor(this.#descriptor);
	}
}

/** Opens a regular file. */
export async function openFile(path: string): Promise<FileBytes> {
	const descriptor = await openPath(path);
	const status = await statDescriptor(descriptor);
	if (status.isFile()) return new FileBytes(path, status.size, descriptor);
	await closeDescriptor(descriptor);
	throw new SaeError(`${path}: is ${status.isDirectory() ? "a folder" : "a pipe or device"}, not a file`);
}

/** Opens a path for reading, whatever it is. */
export async function openPath(path: string): Promise<number> {
	try {
		return await openDescriptor(path, "r");
	} catch (error) {
		const { code } = error as NodeJS.ErrnoException;
		throw new SaeError(
			`${path}: ${code === "ENOENT" ? "there is no such file" : `can't be opened (${code})`}`,
		);
	}
}

/** A range of other bytes. Closing it leaves those open. */
export class SliceBytes implements Bytes {
	readonly name: string;
	readonly size: number;
	readonly #parent: Bytes;
	readonly #offset: number;

	constructor(name: string, parent: Bytes, offset: number, size: number) {
		this.name = name;
		this.size = size;
		this.#parent = parent;
		this.#offset = offset;
	}

	readAt(offset: number, length: number): Promise<Uint8Array> {
		return this.#parent.readAt(this.#offset + offset, Math.max(0, Math.min(length, this.size - offset)));
	}

	async close(): Promise<void> {}
}

const CHUNK_BYTES = 1 << 18;

/**
 * Deflated bytes. They are inflated front to back as they are asked for, in bounded memory; going back starts
 * over. Closing closes the compressed bytes too.
 */
export class InflatedBytes implements Bytes {
	readonly name: string;
	readonly size: number;
	readonly #packed: Bytes;
	readonly #format: "gzip" | "deflate-raw";
	#chunks: AsyncIterator<Uint8Array> | undefined;
	#position = 0;
	#rest: Uint8Array = new Uint8Array(0);

	/** `size`: how many bytes there are once inflated. */
	constructor(packed: Bytes, format: "gzip" | "deflate-raw", size: number) {
		this.name = packed.name;
		this.size = size;
		this.#packed = packed;
		this.#format = format;
	}

	async readAt(offset: number, length: number): Promise<Uint8Array> {
		if (offset < this.#position || !this.#chunks) await this.#restart();
		while (this.#position < offset && (await this.#fill())) this.#take(offset - this.#position);
		const pieces: Uint8Array[] = [];
		for (let left = length; left > 0 && (await this.#fill()); ) {
			const piece = this.#take(left);
			pieces.push(piece);
			left -= piece.length;
		}
		// Buffer.concat may hand out a part of a shared pool, which need not be aligned.
		return new Uint8Array(Buffer.concat(pieces));
	}

	async close(): Promise<void> {
		await this.#chunks?.return?.();
		await this.#packed.close();
	}

	async #restart(): Promise<void> {
		await this.#chunks?.return?.();
		const inflate = this.#format === "gzip" ? createGunzip() : createInflateRaw();
		// A failure of either side reaches us through the iterator.
		pipeline(Readable.from(chunksOf(this.#packed)), inflate, () => {});
		this.#chunks = inflate[Symbol.asyncIterator]();
		this.#position = 0;
		this.#rest = new Uint8Array(0);
	}

	async #fill(): Promise<boolean> {
		while (this.#rest.length === 0) {
			try {
				const { done, value } = await this.#chunks!.next();
				if (done) return false;
				this.#rest = value;
			} catch (error) {
				const reason = (error as Error).message;
				throw new SaeError(`${this.name}: its compressed data is damaged (${reason}); copy or make it again`);
			}
		}
		return true;
	}

	#take(length: number): Uint8Array {
		const piece = this.#rest.subarray(0, length);
		this.#rest = this.#rest.subarray(piece.length);
		this.#position += piece.length;
		return piece;
	}
}

async function* chunksOf(bytes: Bytes): AsyncGenerator<Uint8Array> {
	for (let at = 0; at < bytes.size; at += CHUNK_BYTES) yield await bytes.readAt(at, CHUNK_BYTES);
}
