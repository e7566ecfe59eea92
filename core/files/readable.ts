/** What can be read from anywhere in it, whatever it is: this module also runs in a browser. */
import { SaeError } from "../errors.ts";

export interface Bytes {
	/** For messages: the path, or the path and the part. */
	readonly name: string;
	readonly size: number;
	/** `length` bytes from `offset`; fewer where the end comes first. */
	readAt(offset: number, length: number): Promise<Uint8Array>;
	close(): Promise<void>;
}

/** Exactly `length` bytes, or an error that the file is cut off. */
export async function readFully(bytes: Bytes, offset: number, length: number): Promise<Uint8Array> {
	// A damaged header must not make us allocate what cannot be there.
	const piece = offset + length <= bytes.size ? await bytes.readAt(offset, length) : new Uint8Array(0);
	if (piece.length < length) {
		throw new SaeError(
			`${bytes.name}: is cut off (${offset + length} bytes are needed, ${bytes.size} are there); copy or make it again`,
		);
	}
	return piece;
}
