/** Writes NumPy's archives of float32 arrays, as `numpy.savez` does. Format: numpy/lib/format.py, version 1. */
import { asBytes } from "./dtype.ts";
import { writeZip } from "./zip-write.ts";

export interface ArrayToWrite {
	readonly name: string;
	/** Row-major. */
	readonly shape: readonly number[];
	readonly data: Float32Array;
}

/** The header's length is a multiple of this. */
const ALIGN = 64;
const MAGIC = [0x93, ..."NUMPY".split("").map((letter) => letter.charCodeAt(0)), 1, 0];

/** Writes an .npz file, which appears at `path` only when it is complete. */
export async function writeNpz(path: string, arrays: readonly ArrayToWrite[]): Promise<void> {
	await writeZip(
		path,
		arrays.map(({ name, shape, data }) => ({
			name: `${name}.npy`,
			data: Buffer.concat([npyHeader(shape), asBytes(data)]),
		})),
	);
}

function npyHeader(shape: readonly number[]): Uint8Array {
	const sizes = `${shape.join(", ")}${shape.length === 1 ? "," : ""}`;
	const header = `{'descr': '<f4', 'fortran_order': False, 'shape': (${sizes}), }`;
	const length = Math.ceil((MAGIC.length + 2 + header.length + 1) / ALIGN) * ALIGN - MAGIC.length - 2;
	const text = `${header.padEnd(length - 1)}\n`;
	return Uint8Array.from([...MAGIC, length & 0xff, length >> 8, ...Buffer.from(text)]);
}
