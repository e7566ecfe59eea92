/** Safetensors files on disk: opens and writes them. safetensors-read.ts says what they are. */
import { dirname, join } from "node:path";
import { writeAtomically } from "./atomic.ts";
import { openFile } from "./bytes.ts";
import { asBytes, DTYPE_BYTES, type Dtype } from "./dtype.ts";
import { joinSafetensors, openSafetensorsBytes, readFloat32 } from "./safetensors-read.ts";
import { elementCount, type TensorFile } from "./tensor-file.ts";

export { readFloat32 };

/** Opens one file. */
export async function openSafetensors(path: string): Promise<TensorFile> {
	return openSafetensorsBytes(await openFile(path));
}

/** Opens the files that a `model.safetensors.index.json` names, as one. */
export function openShardedSafetensors(path: string, json: unknown): Promise<TensorFile> {
	return joinSafetensors(path, json, (name) => openSafetensors(join(dirname(path), name)));
}

/** An array to be written. `data`: values of that type, or their little-endian bytes in pieces. */
export interface TensorToWrite {
	readonly name: string;
	readonly dtype: Dtype;
	readonly shape: readonly number[];
	readonly data: ArrayBufferView | AsyncIterable<Uint8Array> | Iterable<Uint8Array>;
}

/** Writes a file, which appears at `path` only when it is complete. */
export async function writeSafetensors(
	path: string,
	tensors: readonly TensorToWrite[],
	metadata: Readonly<Record<string, string>> = {},
): Promise<void> {
	await writeAtomically(path, async (append) => {
		for await (const piece of safetensorsPieces(tensors, metadata)) await append(piece);
	});
}

/** The bytes of a file, in pieces. */
export async function* safetensorsPieces(
	tensors: readonly TensorToWrite[],
	metadata: Readonly<Record<string, string>> = {},
): AsyncGenerator<Uint8Array> {
	// Widest types first, as the reference does, so that every array is aligned for its type.
	const ordered = [...tensors].sort(
		(a, b) => DTYPE_BYTES[b.dtype] - DTYPE_BYTES[a.dtype] || (a.name < b.name ? -1 : 1),
	);
	yield encodeHeader(ordered, metadata);
	for (const tensor of ordered) {
		let written = 0;
		const pieces = ArrayBuffer.isView(tensor.data) ? [asBytes(tensor.data)] : tensor.data;
		for await (const piece of pieces) {
			yield piece;
			written += piece.length;
		}
		if (written !== byteCount(tensor)) {
			throw new TypeError(`${tensor.name}: ${written} bytes were given for ${tensor.dtype}[${tensor.shape}]`);
		}
	}
}

function encodeHeader(
	tensors: readonly TensorToWrite[],
	metadata: Readonly<Record<string, string>>,
): Uint8Array {
	const header: Record<string, unknown> = Object.create(null);
	if (Object.keys(metadata).length > 0) header.__metadata__ = metadata;
	let end = 0;
	for (const tensor of tensors) {
		const begin = end;
		end += byteCount(tensor);
		const { name, dtype, shape } = tensor;
		if (Object.hasOwn(header, name)) throw new TypeError(`two arrays are called ${name}`);
		header[name] = { dtype: dtype.toUpperCase(), shape, data_offsets: [begin, end] };
	}
	const json = Buffer.from(JSON.stringify(header));
	const padded = Math.ceil(json.length / 8) * 8;
	const bytes = new Uint8Array(8 + padded).fill(0x20);
	new DataView(bytes.buffer).setBigUint64(0, BigInt(padded), true);
	bytes.set(json, 8);
	return bytes;
}

function byteCount({ dtype, shape }: TensorToWrite): number {
	return elementCount(shape) * DTYPE_BYTES[dtype];
}
