/** Opens a file of arrays, whichever format its content shows it to be; names and extensions don't matter. */
import { basename } from "node:path";
import { SaeError } from "../errors.ts";
import { type Bytes, InflatedBytes, openFile, readFully } from "./bytes.ts";
import { type ElementArray, fileOfArrays } from "./element-array.ts";
import { looksLikeIdx, openIdx } from "./idx.ts";
import { openNpy } from "./npy.ts";
import { openShardedSafetensors } from "./safetensors.ts";
import { openSafetensorsBytes } from "./safetensors-read.ts";
import type { TensorFile } from "./tensor-file.ts";
import { isTorchArchive, openTorchArchive, type TorchFile } from "./torch.ts";
import { readZip } from "./zip.ts";

export type FileFormat = "arrow" | "safetensors" | "safetensors index" | "npy" | "npz" | "idx" | "gzip";

/** Formats that we know and don't read, with what to do. */
const OTHERS: readonly (readonly [start: string, hint: string])[] = [
	["PAR1", "Parquet; convert it to Arrow, e.g. with DuckDB or polars"],
	["\x89HDF", "HDF5; save the array with numpy.save"],
	["\x80\x02\x8a\nl\xfc\x9cF\xf9", "of PyTorch before version 1.6; load it there, and torch.save it again"],
	["\x80", "a bare Python pickle, which is never loaded, for it can run any code; save safetensors instead"],
	["FEA1", "Feather version 1; save it as Arrow IPC"],
];

const MAX_INDEX_BYTES = 64 * 2 ** 20;

/** Which format a file is, by its first bytes. */
export async function detectFormat(bytes: Bytes): Promise<FileFormat> {
	const start = await bytes.readAt(0, 16);
	if (start.length === 0) throw new SaeError(`${bytes.name}: is empty`);
	const text = String.fromCharCode(...start);
	if (text.startsWith("ARROW1") || text.startsWith("\xff\xff\xff\xff")) return "arrow";
	if (text.startsWith("\x93NUMPY")) return "npy";
	if (text.startsWith("PK\x03\x04") || text.startsWith("PK\x05\x06")) return "npz";
	if (text.startsWith("\x1f\x8b")) return "gzip";
	// A safetensors header is JSON of less than 2^32 bytes, so that the upper half of its length is zero.
	if (text.startsWith("\0\0\0\0{", 4)) return "safetensors";
	if (text.trimStart().startsWith("{")) return "safetensors index";
	if (looksLikeIdx(start)) return "idx";
	const other = OTHERS.find(([magic]) => text.startsWith(magic));
	throw new SaeError(
		`${bytes.name}: is ${other?.[1] ?? "of no known format; Arrow, safetensors, .npy, .npz and IDX can be read"}`,
	);
}

/** Opens a file of `torch.save`, with what stands in it beside tensors. */
export async function openTorch(path: string): Promise<TorchFile> {
	const file = await openTensorFile(path);
	if (file.format === "torch") return file as TorchFile;
	await file.close();
	throw new SaeError(`${path}: is ${file.format}, not a file of torch.save`);
}

/** Whether a path is a file of `torch.save`, or a bare pickle, which would say how it must be saved. */
export async function isTorch(path: string): Promise<boolean> {
	const bytes = await openFile(path).catch(() => undefined);
	if (!bytes) return false;
	try {
		const start = String.fromCharCode(...(await bytes.readAt(0, 2)));
		return start.startsWith("\x80") || (start === "PK" && isTorchArchive(await readZip(bytes)));
	} catch {
		return false;
	} finally {
		await bytes.close();
	}
}

/** Opens any format but Arrow, which is a stream. */
export async function openTensorFile(path: string): Promise<TensorFile> {
	const bytes = await openFile(path);
	try {
		return await openBytes(bytes);
	} catch (error) {
		await bytes.close();
		throw error;
	}
}

async function openBytes(bytes: Bytes): Promise<TensorFile> {
	const format = await detectFormat(bytes);
	switch (format) {
		case "safetensors":
			return openSafetensorsBytes(bytes);
		case "safetensors index":
			return openIndex(bytes);
		case "npz":
			return openZip(bytes);
		case "npy":
			return single(bytes, "npy", await openNpy(bytes));
		case "idx":
			return single(bytes, "idx", await openIdx(bytes));
		case "gzip":
			return openGzip(bytes);
		case "arrow":
			throw new SaeError(`${bytes.name}: is an Arrow stream, where a file of arrays is needed`);
	}
}

/** A file of one array, which is called like the file. */
function single(bytes: Bytes, format: "npy" | "idx", array: ElementArray): TensorFile {
	const name = basename(bytes.name)
		.replace(/\.gz$/, "")
		.replace(/\.npy$/, "");
	return fileOfArrays(bytes.name, format, new Map([[name, array]]), () => bytes.close());
}

/** A gzipped .npy or IDX file. The last four bytes say how long it is, modulo 2^32. */
async function openGzip(packed: Bytes): Promise<TensorFile> {
	const trailer = await readFully(packed, Math.max(0, packed.size - 4), 4);
	const size = new DataView(trailer.buffer, trailer.byteOffset).getUint32(0, true);
	const bytes = new InflatedBytes(packed, "gzip", size);
	const format = await detectFormat(bytes);
	if (format === "npy") return single(bytes, format, await openNpy(bytes));
	if (format === "idx") return single(bytes, format, await openIdx(bytes));
	throw new SaeError(`${packed.name}: is ${format} inside gzip; unpack it first`);
}

/** An .npz file, or one of `torch.save`: both are ZIP archives. */
async function openZip(bytes: Bytes): Promise<TensorFile> {
	const members = await readZip(bytes);
	if (isTorchArchive(members)) return openTorchArchive(bytes, members);
	const arrays = new Map<string, ElementArray>();
	for (const member of members) {
		if (!member.name.endsWith(".npy")) continue;
		arrays.set(member.name.slice(0, -4), await openNpy(await member.open()));
	}
	if (arrays.size === 0) {
		throw new SaeError(`${bytes.name}: is a ZIP archive without .npy arrays, and none of torch.save`);
	}
	return fileOfArrays(bytes.name, "npz", arrays, () => bytes.close());
}

async function openIndex(bytes: Bytes): Promise<TensorFile> {
	if (bytes.size > MAX_INDEX_BYTES) throw new SaeError(`${bytes.name}: is too large for a safetensors index`);
	const text = new TextDecoder().decode(await readFully(bytes, 0, bytes.size));
	let json: unknown;
	try {
		json = JSON.parse(text);
	} catch {
		throw new SaeError(`${bytes.name}: is not sound JSON, as an index of safetensors files would be`);
	}
	const file = await openShardedSafetensors(bytes.name, json);
	await bytes.close();
	return file;
}
