/** NumPy's array files. Format: numpy/lib/format.py, versions 1 to 3. */
import { SaeError } from "../errors.ts";
import { type Bytes, readFully } from "./bytes.ts";
import { DTYPE_BYTES, type Dtype } from "./dtype.ts";
import { type ElementArray, swapBytes } from "./element-array.ts";
import { elementCount } from "./tensor-file.ts";

const MAX_HEADER_BYTES = 1 << 20;

/** NumPy's names of the types, without the byte order. */
const DTYPES: Readonly<Record<string, Dtype>> = {
	b1: "bool",
	u1: "u8",
	i1: "i8",
	u2: "u16",
	i2: "i16",
	f2: "f16",
	u4: "u32",
	i4: "i32",
	f4: "f32",
	u8: "u64",
	i8: "i64",
	f8: "f64",
};

/** Reads the header; the elements stay where they are. */
export async function openNpy(bytes: Bytes): Promise<ElementArray> {
	const start = await readFully(bytes, 0, 10);
	const view = new DataView(start.buffer, start.byteOffset);
	const major = start[6]!;
	if (major < 1 || major > 3)
		throw new SaeError(`${bytes.name}: is NumPy format ${major}; 1 to 3 can be read`);
	const long = major > 1;
	const headerStart = long ? 12 : 10;
	const length = long
		? new DataView((await readFully(bytes, 8, 4)).buffer).getUint32(0, true)
		: view.getUint16(8, true);
	if (length > MAX_HEADER_BYTES) throw damaged(bytes, "its header is too long");
	const header = parseHeader(new TextDecoder().decode(await readFully(bytes, headerStart, length)));
	if (!header) throw damaged(bytes, "its header is malformed");
	const { descr, fortran, shape } = header;
	const dtype = DTYPES[descr.slice(1)];
	const unreadable = !dtype
		? descr
		: fortran && shape.length > 1
			? "column-major (save ascontiguousarray(x))"
			: "";
	// Such an array is no harm while it only stands beside others in an .npz: it is listed.
	if (!dtype || unreadable)
		return { dtype: unreadable, shape, read: () => Promise.reject(damaged(bytes, unreadable)) };
	const dataStart = headerStart + length;
	const size = DTYPE_BYTES[dtype];
	const end = dataStart + elementCount(shape) * size;
	if (end !== bytes.size) {
		throw damaged(bytes, `its shape [${shape.join(", ")}] needs ${end} bytes, but it has ${bytes.size}`);
	}
	return {
		dtype,
		shape,
		async read(first, count) {
			const data = await readFully(bytes, dataStart + first * size, count * size);
			return descr[0] === ">" ? swapBytes(data, size) : data;
		},
	};
}

/** The header is a Python dictionary of three known entries. */
function parseHeader(text: string): { descr: string; fortran: boolean; shape: number[] } | undefined {
	// Structured types have a list here; its text is kept for the message.
	const descr = /'descr':\s*(?:'([^']*)'|(\[.*?\]))/.exec(text);
	const fortran = /'fortran_order':\s*(True|False)/.exec(text);
	const shape = /'shape':\s*\(([\d,\s]*)\)/.exec(text);
	if (!descr || !fortran || !shape) return undefined;
	const sizes = shape[1]!.split(",").map((size) => size.trim());
	return {
		descr: descr[1] ?? descr[2]!,
		fortran: fortran[1] === "True",
		shape: sizes.filter((size) => size !== "").map(Number),
	};
}

function damaged(bytes: Bytes, why: string): SaeError {
	return new SaeError(`${bytes.name}: is not a sound .npy file: ${why}; it is cut off or damaged`);
}
