/**
 * Reads safetensors: 8 bytes with the header's length, the header as JSON, then the arrays without gaps. Runs in a
 * browser too. Written here because the npm package refuses files with `__metadata__` and needs all bytes in memory.
 * Format: github.com/huggingface/safetensors, README and src/tensor.rs.
 */
import { z } from "zod";
import { SaeError } from "../errors.ts";
import { DTYPE_BYTES, isDtype, toFloat32 } from "./dtype.ts";
import { type Bytes, readFully } from "./readable.ts";
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

/** Opens bytes; closing the file closes them. The header is checked as strictly as the reference implementation does. */
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

/**
 * The files that an index, `model.safetensors.index.json`, names, as one.
 *
 * @param open gives a file by its name, which has no folder.
 */
export async function joinSafetensors(
	path: string,
	json: unknown,
	open: (name: string) => Promise<TensorFile>,
): Promise<TensorFile> {
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
			if (/[/\\]/.test(file) || file.startsWith(".."))
				throw new SaeError(`${path}: names the file "${file}", outside its folder`);
			const shard = shards.get(file) ?? (await open(file));
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
