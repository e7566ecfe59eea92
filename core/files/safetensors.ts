/**
 * Reads and writes safetensors: 8 bytes with the header's length, the header as JSON, then the arrays without
 * gaps. Written here because the npm package refuses files with `__metadata__` and needs all bytes in memory.
 * Format: github.com/huggingface/safetensors, README and src/tensor.rs.
 */
import { basename, dirname, join } from "node:path";
import { z } from "zod";
import { SaeError } from "../errors.ts";
import { writeAtomically } from "./atomic.ts";
import { type Bytes, openFile, readFully } from "./bytes.ts";
import { asBytes, DTYPE_BYTES, type Dtype, isDtype, toFloat32 } from "./dtype.ts";
import { elementCount, namedTensor, readableDtype, type TensorFile, type TensorInfo } from "./tensor-file.ts";

const MAX_HEADER_BYTES = 100_000_000;

const Entry = z.strictObject({
	dtype: z.string(),
	shape: z.array(z.int().min(0)),
	data_offsets: z.tuple([z.int().min(0), z.int().min(0)]),
});
const Header = z.record(z.string(), z.unknown());
const Metadata = z.record(z.string(), z.string());
const Index = z.object({ weight_map: z.record(z.string(), z.string()) });

interface StoredTensor extends TensorInfo {
	/** Offset of its first byte in the file. */
	readonly begin: number;
}

/** Opens one file. The header is checked as strictly as the reference implementation does. */
export async function openSafetensors(path: string): Promise<TensorFile> {
	return openSafetensorsBytes(await openFile(path));
}

/** As {@link openSafetensors}, over bytes that are already open; closing the file closes them. */
export async function openSafetensorsBytes(bytes: Bytes): Promise<TensorFile> {
	try {
		const { tensors, metadata } = await readHeader(bytes);
		const file: TensorFile = {
			path: bytes.name,
			format: "safetensors",
			tensors,
			metadata,
			readElements(name, start, count) {
				const size = DTYPE_BYTES[readableDtype(bytes.name, namedTensor(file, name))];
				return readFully(bytes, tensors.get(name)!.begin + start * size, count * size);
			},
			close: () => bytes.close(),
		};
		return file;
	} catch (error) {
		await bytes.close();
		throw error;
	}
}

/** Opens the files that a `model.safetensors.index.json` names, as one. */
export async function openShardedSafetensors(path: string, json: unknown): Promise<TensorFile> {
	const index = Index.safeParse(json);
	if (!index.success)
		throw new SaeError(`${path}: is not an index of safetensors files (it has no weight_map)`);
	const shards = new Map<string, TensorFile>();
	const close = async () => {
		for (const shard of shards.values()) await shard.close();
	};
	try {
		const owners = new Map<string, TensorFile>();
		for (const [name, file] of Object.entries(index.data.weight_map)) {
			if (basename(file) !== file)
				throw new SaeError(`${path}: names the file "${file}", outside its folder`);
			const shard = shards.get(file) ?? (await openSafetensors(join(dirname(path), file)));
			shards.set(file, shard);
			namedTensor(shard, name);
			owners.set(name, shard);
		}
		const tensors = new Map([...owners].map(([name, shard]) => [name, shard.tensors.get(name)!]));
		const file: TensorFile = {
			path,
			format: "safetensors",
			tensors,
			metadata: {},
			readElements(name, start, count) {
				return owners.get(namedTensor(file, name).name)!.readElements(name, start, count);
			},
			close,
		};
		return file;
	} catch (error) {
		await close();
		throw error;
	}
}

/** A whole array as float32. */
export async function readFloat32(file: TensorFile, name: string): Promise<Float32Array> {
	const info = namedTensor(file, name);
	const dtype = readableDtype(file.path, info);
	return toFloat32(await file.readElements(name, 0, elementCount(info.shape)), dtype);
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
	// Widest types first, as the reference does, so that every array is aligned for its type.
	const ordered = [...tensors].sort(
		(a, b) => DTYPE_BYTES[b.dtype] - DTYPE_BYTES[a.dtype] || (a.name < b.name ? -1 : 1),
	);
	await writeAtomically(path, async (append) => {
		await append(encodeHeader(ordered, metadata));
		for (const tensor of ordered) {
			let written = 0;
			const pieces = ArrayBuffer.isView(tensor.data) ? [asBytes(tensor.data)] : tensor.data;
			for await (const piece of pieces) {
				await append(piece);
				written += piece.length;
			}
			if (written !== byteCount(tensor)) {
				throw new TypeError(
					`${tensor.name}: ${written} bytes were given for ${tensor.dtype}[${tensor.shape}]`,
				);
			}
		}
	});
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

async function readHeader(bytes: Bytes) {
	const fail = (what: string) => new SaeError(`${bytes.name}: is not a sound safetensors file: ${what}`);
	const prefix = await readFully(bytes, 0, 8);
	const length = new DataView(prefix.buffer, prefix.byteOffset).getBigUint64(0, true);
	if (length > MAX_HEADER_BYTES || Number(length) > bytes.size - 8) {
		throw fail(`it claims a header of ${length} bytes, but has ${bytes.size} in all`);
	}
	const start = 8 + Number(length);
	const header = parseHeader(await readFully(bytes, 8, Number(length)));
	if (!header) throw fail("its header is not a JSON object");
	const { __metadata__: rawMetadata = {}, ...entries } = header;
	const metadata = Metadata.safeParse(rawMetadata);
	if (!metadata.success) throw fail("__metadata__ may hold only text");

	const stored = Object.entries(entries).map(([name, raw]) => {
		const entry = Entry.safeParse(raw);
		if (!entry.success) throw fail(`the header's entry for ${name} is malformed`);
		const { shape, data_offsets } = entry.data;
		return {
			name,
			dtype: entry.data.dtype.toLowerCase(),
			shape,
			begin: data_offsets[0],
			end: data_offsets[1],
		};
	});
	let covered = 0;
	for (const { name, dtype, shape, begin, end } of stored.toSorted(
		(a, b) => a.begin - b.begin || a.end - b.end,
	)) {
		if (begin !== covered || end < begin)
			throw fail(`the data of ${name} overlaps or leaves a gap before it`);
		if (isDtype(dtype) && elementCount(shape) * DTYPE_BYTES[dtype] !== end - begin) {
			throw fail(`${name} is ${dtype}[${shape}] but has ${end - begin} bytes`);
		}
		covered = end;
	}
	if (start + covered !== bytes.size) {
		throw fail(
			`its arrays need ${start + covered} bytes, but it has ${bytes.size}; it is cut off or damaged`,
		);
	}
	const tensors = new Map<string, StoredTensor>(
		stored.map(({ name, dtype, shape, begin }) => [name, { name, dtype, shape, begin: start + begin }]),
	);
	return { tensors, metadata: metadata.data };
}

function parseHeader(json: Uint8Array): Record<string, unknown> | undefined {
	try {
		return Header.parse(JSON.parse(new TextDecoder("utf-8", { fatal: true }).decode(json)));
	} catch {
		return undefined;
	}
}
