/** What every file of arrays offers, whatever its format. */
import type { Vectors } from "../arrow/activations.ts";
import { SaeError } from "../errors.ts";
import { type Dtype, isDtype, toUint32, toVectorValues } from "./dtype.ts";

/** One array of a file. */
export interface TensorInfo {
	readonly name: string;
	/** Usually a {@link Dtype}; a type that we can't read is listed under its own name. */
	readonly dtype: string;
	/** Row-major. */
	readonly shape: readonly number[];
}

/** An open file of named arrays, read by ranges, so that it may be larger than the memory. */
export interface TensorFile {
	readonly path: string;
	readonly format: "safetensors" | "npy" | "npz" | "idx" | "torch";
	readonly tensors: ReadonlyMap<string, TensorInfo>;
	/** Free-form text that the file carries (safetensors' `__metadata__`). */
	readonly metadata: Readonly<Record<string, string>>;
	/** The little-endian bytes of `count` elements from element `start`. */
	readElements(name: string, start: number, count: number): Promise<Uint8Array>;
	close(): Promise<void>;
}

/** An array as rows: its last dimension is the width, the others count rows; one dimension is rows of width 1. */
export interface RowTensor {
	readonly name: string;
	readonly dtype: Dtype;
	readonly rows: number;
	readonly width: number;
	/** `count` rows from row `start`, as a stream carries them: float16 stays, other types become float32. */
	readRows(start: number, count: number): Promise<Vectors>;
	/** `count` single elements from element `start`, as whole numbers from 0 to 2^32 − 1: token ids, labels. */
	readIntegers(start: number, count: number): Promise<Uint32Array>;
}

/** Elements of a shape. */
export function elementCount(shape: readonly number[]): number {
	return shape.reduce((product, size) => product * size, 1);
}

/**
 * The rows of an array.
 *
 * @param name may be left out when the file has one array, or one only with several dimensions.
 */
export function rowTensor(file: TensorFile, name?: string): RowTensor {
	const info = name === undefined ? onlyTensor(file) : namedTensor(file, name);
	const dtype = readableDtype(file.path, info);
	const { shape } = info;
	const width = shape.length > 1 ? shape[shape.length - 1]! : 1;
	const rows = width === 0 ? 0 : elementCount(shape) / width;
	const label = `${file.path}: ${info.name}`;
	return {
		name: info.name,
		dtype,
		rows,
		width,
		async readRows(start, count) {
			const bytes = await file.readElements(info.name, start * width, count * width);
			return { ...toVectorValues(bytes, dtype), rows: count, width };
		},
		async readIntegers(start, count) {
			return toUint32(await file.readElements(info.name, start, count), dtype, label);
		},
	};
}

/** The named array; the error lists what there is. */
export function namedTensor(file: TensorFile, name: string): TensorInfo {
	const info = file.tensors.get(name);
	if (!info) throw new SaeError(`${file.path}: has no array ${name}; it has: ${tensorList(file)}`);
	return info;
}

/** The element type, or an error that we can't read it. */
export function readableDtype(path: string, { name, dtype }: TensorInfo): Dtype {
	if (!isDtype(dtype)) throw new SaeError(`${path}: ${name} is of type ${dtype}, which can't be read`);
	return dtype;
}

function onlyTensor(file: TensorFile): TensorInfo {
	const all = [...file.tensors.values()];
	const matrices = all.filter(({ shape }) => shape.length > 1);
	const candidates = matrices.length > 0 ? matrices : all;
	const [only] = candidates;
	if (!only) throw new SaeError(`${file.path}: holds no arrays`);
	if (candidates.length > 1) {
		throw new SaeError(`${file.path}: say which array with --tensor; it has: ${tensorList(file)}`);
	}
	return only;
}

const MAX_LISTED = 12;

function tensorList(file: TensorFile): string {
	const all = [...file.tensors.values()].map(
		({ name, dtype, shape }) => `${name} ${dtype}[${shape.join(", ")}]`,
	);
	const more = all.length > MAX_LISTED ? ` and ${all.length - MAX_LISTED} more` : "";
	return (all.slice(0, MAX_LISTED).join(", ") || "none") + more;
}
