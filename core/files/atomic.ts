/** Files that are there whole or not at all. */
import { type FileHandle, open, rename, rm } from "node:fs/promises";
import { SaeError } from "../errors.ts";

/** One call writes or reads fewer than 2^31 bytes. */
export const MAX_CALL_BYTES = 2 ** 30;

/** Appends all of `bytes`. */
export type Append = (bytes: Uint8Array) => Promise<void>;

/**
 * Writes a file beside `path` and renames it into place when `write` is done and the bytes are on disk. When
 * `write` fails the unfinished file is removed and whatever was at `path` stays.
 */
export async function writeAtomically(path: string, write: (append: Append) => Promise<void>): Promise<void> {
	const beside = `${path}.${process.pid}.tmp`;
	const file = await open(beside, "w").catch((error: NodeJS.ErrnoException) => {
		throw new SaeError(
			`${path}: can't be written (${error.code}); check that its folder exists and is writable`,
		);
	});
	try {
		await write((bytes) => append(file, path, bytes));
		await file.sync();
		await file.close();
		await rename(beside, path);
	} catch (error) {
		await file.close().catch(() => {});
		await rm(beside, { force: true });
		throw error;
	}
}

async function append(file: FileHandle, path: string, bytes: Uint8Array): Promise<void> {
	try {
		for (let at = 0; at < bytes.length; ) {
			const length = Math.min(bytes.length - at, MAX_CALL_BYTES);
			at += (await file.write(bytes, at, length)).bytesWritten;
		}
	} catch (error) {
		const { code } = error as NodeJS.ErrnoException;
		throw new SaeError(
			`${path}: writing failed (${code})${code === "ENOSPC" ? "; free some disk space" : ""}`,
		);
	}
}
