/** The IDX format of the MNIST data: a type, the sizes, then big-endian elements. */
import { SaeError } from "../errors.ts";
import { type Bytes, readFully } from "./bytes.ts";
import { DTYPE_BYTES, type Dtype } from "./dtype.ts";
import { type ElementArray, swapBytes } from "./element-array.ts";
import { elementCount } from "./tensor-file.ts";

const DTYPES: Readonly<Record<number, Dtype>> = {
	8: "u8",
	9: "i8",
	11: "i16",
	12: "i32",
	13: "f32",
	14: "f64",
};

/** Whether a file that begins with these bytes may be IDX: two zeros, a known type, one to eight dimensions. */
export function looksLikeIdx(start: Uint8Array): boolean {
	const [zero0, zero1, type = 0, dimensions = 0] = start;
	return zero0 === 0 && zero1 === 0 && type in DTYPES && dimensions >= 1 && dimensions <= 8;
}

/** Reads the header. Images [n, height, width] are shaped [n, height × width]: one row for each. */
export async function openIdx(bytes: Bytes): Promise<ElementArray> {
	const start = await readFully(bytes, 0, 4);
	const dtype = DTYPES[start[2]!];
	if (!dtype) throw new SaeError(`${bytes.name}: is not a sound IDX file: its type is unknown`);
	const dimensions = start[3]!;
	const header = await readFully(bytes, 4, 4 * dimensions);
	const view = new DataView(header.buffer, header.byteOffset);
	const sizes = Array.from({ length: dimensions }, (_, i) => view.getUint32(4 * i));
	const dataStart = 4 + 4 * dimensions;
	const size = DTYPE_BYTES[dtype];
	const end = dataStart + elementCount(sizes) * size;
	if (end !== bytes.size) {
		throw new SaeError(
			`${bytes.name}: its sizes [${sizes.join(", ")}] need ${end} bytes, but it has ${bytes.size}; it is cut off or damaged`,
		);
	}
	const [count = 0, ...rest] = sizes;
	return {
		dtype,
		shape: rest.length > 0 ? [count, elementCount(rest)] : [count],
		async read(first, elements) {
			return swapBytes(await readFully(bytes, dataStart + first * size, elements * size), size);
		},
	};
}
