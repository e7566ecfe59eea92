/** One array in a file, with no name of its own. */
import { namedTensor, type TensorFile } from "./tensor-file.ts";

export interface ElementArray {
	/** As in `TensorInfo`. */
	readonly dtype: string;
	readonly shape: readonly number[];
	/** The little-endian bytes of `count` elements from element `start`. */
	read(start: number, count: number): Promise<Uint8Array>;
}

/** A file made of such arrays. */
export function fileOfArrays(
	path: string,
	format: TensorFile["format"],
	arrays: ReadonlyMap<string, ElementArray>,
	close: () => Promise<void>,
): TensorFile {
	const file: TensorFile = {
		path,
		format,
		tensors: new Map([...arrays].map(([name, { dtype, shape }]) => [name, { name, dtype, shape }])),
		metadata: {},
		readElements: (name, start, count) => arrays.get(namedTensor(file, name).name)!.read(start, count),
		close,
	};
	return file;
}

/** Turns big-endian elements of `size` bytes into little-endian ones, in place. */
export function swapBytes(data: Uint8Array, size: number): Uint8Array {
	const buffer = Buffer.from(data.buffer, data.byteOffset, data.byteLength);
	if (size === 2) buffer.swap16();
	else if (size === 4) buffer.swap32();
	else if (size === 8) buffer.swap64();
	return data;
}
