/**
 * Decodes LZ4 frames (LZ4 Frame Format Description 1.6), which Arrow calls `LZ4_FRAME`. Written here because the
 * output must never grow past what the caller allows. Checksums are skipped.
 */

const MAGIC = 0x184d2204;
const MIN_MATCH = 4;

/** Decodes one frame into at most `limit` bytes; throws a RangeError when it is damaged or larger. */
export function decodeLz4Frame(frame: Uint8Array, limit: number): Uint8Array {
	const view = new DataView(frame.buffer, frame.byteOffset, frame.byteLength);
	if (view.getUint32(0, true) !== MAGIC) throw new RangeError("not an LZ4 frame");
	const flags = view.getUint8(4);
	const blockChecksum = flags & 0x10 ? 4 : 0;
	// Magic, flags, block size, then the optional content size and dictionary id, then the header's checksum.
	let at = 7 + (flags & 0x08 ? 8 : 0) + (flags & 0x01 ? 4 : 0);
	const output = new Uint8Array(limit);
	let written = 0;
	for (;;) {
		const word = view.getUint32(at, true);
		at += 4;
		if (word === 0) return output.subarray(0, written);
		const bytes = word & 0x7fffffff;
		if (at + bytes > frame.length) throw new RangeError("LZ4 block past the end");
		const block = frame.subarray(at, at + bytes);
		if (word >>> 31) {
			output.set(block, written);
			written += bytes;
		} else {
			written = decodeBlock(block, output, written);
		}
		at += bytes + blockChecksum;
	}
}

/** Appends one block at `start`, with matches reaching back into earlier blocks; returns the new end. */
function decodeBlock(block: Uint8Array, output: Uint8Array, start: number): number {
	let at = 0;
	let end = start;
	const extended = (length: number): number => {
		if (length !== 15) return length;
		let total = length;
		for (;;) {
			const byte = block[at++];
			if (byte === undefined) throw new RangeError("LZ4 length past the end");
			total += byte;
			if (byte !== 255) return total;
		}
	};
	while (at < block.length) {
		const token = block[at++]!;
		const literals = extended(token >> 4);
		if (at + literals > block.length) throw new RangeError("LZ4 literals past the end");
		output.set(block.subarray(at, at + literals), end);
		at += literals;
		end += literals;
		if (at === block.length) break;
		const distance = (block[at] ?? 0) | ((block[at + 1] ?? 0) << 8);
		at += 2;
		const match = extended(token & 15) + MIN_MATCH;
		if (distance === 0 || distance > end || end + match > output.length) {
			throw new RangeError("LZ4 match out of range");
		}
		if (distance >= match) {
			output.copyWithin(end, end - distance, end - distance + match);
		} else {
			for (let i = 0; i < match; i++) output[end + i] = output[end + i - distance]!;
		}
		end += match;
	}
	return end;
}
