/**
 * Decompresses the buffers of other programs' record batches. We always write uncompressed: activations hardly
 * shrink, and apache-arrow 21.2.0 writes a wrong length before compressed buffers.
 */
import { zstdDecompressSync } from "node:zlib";
import { CompressionType } from "apache-arrow/fb/compression-type";
import { SaeError } from "../errors.ts";
import { decodeLz4Frame } from "./lz4.ts";

/** The prefix of a buffer that was left as it is. */
const NOT_COMPRESSED = -1n;
/** An LZ4 byte stands for at most 255; a Zstandard block of 4 bytes for 128 KiB. */
const MAX_RATIO = { [CompressionType.LZ4_FRAME]: 256, [CompressionType.ZSTD]: 1 << 15 };

/** One buffer of a compressed body: an int64 with the uncompressed size, then the compressed bytes. */
export function decompress(
	buffer: Uint8Array,
	codec: CompressionType,
	limit: number,
	name: string,
): Uint8Array {
	if (buffer.length === 0) return buffer;
	const damaged = () => new SaeError(`${name}: a compressed Arrow buffer is damaged; make the file again`);
	if (buffer.length < 8) throw damaged();
	const size = new DataView(buffer.buffer, buffer.byteOffset).getBigInt64(0, true);
	const packed = buffer.subarray(8);
	if (size === NOT_COMPRESSED) return packed;
	if (size < 0n || size > limit || size > packed.length * MAX_RATIO[codec] + 64) throw damaged();
	const unpacked = unpack(packed, codec, Number(size), damaged);
	if (unpacked.length !== Number(size)) throw damaged();
	return unpacked;
}

function unpack(
	packed: Uint8Array,
	codec: CompressionType,
	size: number,
	damaged: () => SaeError,
): Uint8Array {
	try {
		if (codec === CompressionType.LZ4_FRAME) return decodeLz4Frame(packed, size);
		return zstdDecompressSync(packed, { maxOutputLength: Math.max(size, 1) });
	} catch {
		throw damaged();
	}
}
