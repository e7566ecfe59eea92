/** The directory of a ZIP archive, and its members as bytes. Format: PKWARE's APPNOTE, sections 4.3 and 4.5.3. */
import { SaeError } from "../errors.ts";
import { type Bytes, InflatedBytes, readFully, SliceBytes } from "./bytes.ts";

const END_MAGIC = 0x06054b50;
const END_BYTES = 22;
const END64_LOCATOR_MAGIC = 0x07064b50;
const END64_MAGIC = 0x06064b50;
const ENTRY_MAGIC = 0x02014b50;
const LOCAL_MAGIC = 0x04034b50;
const MAX_DIRECTORY_BYTES = 1 << 26;
/** Weights hardly get smaller; what unpacks to more than this and to so many times its bytes is made to fill memory. */
const MAX_INFLATED = 2 ** 30;
const MAX_RATIO = 100;
const STORED = 0;
const DEFLATED = 8;
const ENCRYPTED = 1;

export interface ZipMember {
	readonly name: string;
	/** Bytes once inflated. */
	readonly size: number;
	open(): Promise<Bytes>;
}

/** The members of an archive, in the order of its directory. ZIP64 included. */
export async function readZip(bytes: Bytes): Promise<ZipMember[]> {
	const { offset, size } = await findDirectory(bytes);
	if (size > MAX_DIRECTORY_BYTES) throw damaged(bytes);
	const directory = await readFully(bytes, offset, size);
	const view = new DataView(directory.buffer, directory.byteOffset, directory.byteLength);
	const members: ZipMember[] = [];
	for (let at = 0; at + 46 <= size && view.getUint32(at, true) === ENTRY_MAGIC; ) {
		const nameBytes = view.getUint16(at + 28, true);
		const extraBytes = view.getUint16(at + 30, true);
		const next = at + 46 + nameBytes + extraBytes + view.getUint16(at + 32, true);
		if (next > size) throw damaged(bytes);
		const entry = readEntry(view, at, nameBytes, extraBytes);
		members.push({ name: entry.name, size: entry.size, open: () => openMember(bytes, entry) });
		at = next;
	}
	return members;
}

interface Entry {
	readonly name: string;
	readonly flags: number;
	readonly method: number;
	readonly packedSize: number;
	readonly size: number;
	readonly offset: number;
}

function readEntry(view: DataView, at: number, nameBytes: number, extraBytes: number): Entry {
	const name = new TextDecoder().decode(new Uint8Array(view.buffer, view.byteOffset + at + 46, nameBytes));
	let size = view.getUint32(at + 24, true);
	let packedSize = view.getUint32(at + 20, true);
	let offset = view.getUint32(at + 42, true);
	const end = at + 46 + nameBytes + extraBytes;
	for (let field = at + 46 + nameBytes; field + 4 <= end; field += 4 + view.getUint16(field + 2, true)) {
		if (view.getUint16(field, true) !== 1) continue;
		// ZIP64: only the values that did not fit, in this order.
		let value = field + 4;
		const wide = (narrow: number) => {
			if (narrow !== 0xffffffff || value + 8 > end) return narrow;
			value += 8;
			return Number(view.getBigUint64(value - 8, true));
		};
		size = wide(size);
		packedSize = wide(packedSize);
		offset = wide(offset);
	}
	const flags = view.getUint16(at + 8, true);
	return { name, flags, method: view.getUint16(at + 10, true), packedSize, size, offset };
}

async function openMember(bytes: Bytes, entry: Entry): Promise<Bytes> {
	const name = `${bytes.name}: ${entry.name}`;
	if (entry.flags & ENCRYPTED) throw new SaeError(`${name}: is encrypted`);
	if (entry.method !== STORED && entry.method !== DEFLATED) {
		throw new SaeError(
			`${name}: uses compression method ${entry.method}; use numpy.savez or savez_compressed`,
		);
	}
	const local = await readFully(bytes, entry.offset, 30);
	const view = new DataView(local.buffer, local.byteOffset);
	if (view.getUint32(0, true) !== LOCAL_MAGIC) throw damaged(bytes);
	const start = entry.offset + 30 + view.getUint16(26, true) + view.getUint16(28, true);
	if (start + entry.packedSize > bytes.size) throw damaged(bytes);
	const packed = new SliceBytes(name, bytes, start, entry.packedSize);
	if (entry.size > MAX_INFLATED && entry.size > MAX_RATIO * entry.packedSize) {
		throw new SaeError(
			`${name}: is ${entry.packedSize} bytes that unpack to ${entry.size}, as no weights do; unpack it yourself if you trust it`,
		);
	}
	if (entry.method === DEFLATED) return new InflatedBytes(packed, "deflate-raw", entry.size);
	if (entry.size !== entry.packedSize) throw damaged(bytes);
	return packed;
}

async function findDirectory(bytes: Bytes): Promise<{ offset: number; size: number }> {
	// The end record may be followed by a comment of up to 65,535 bytes.
	const tailStart = Math.max(0, bytes.size - END_BYTES - 0xffff);
	const tail = await readFully(bytes, tailStart, bytes.size - tailStart);
	const view = new DataView(tail.buffer, tail.byteOffset, tail.byteLength);
	let at = tail.length - END_BYTES;
	while (at >= 0 && view.getUint32(at, true) !== END_MAGIC) at--;
	if (at < 0) throw damaged(bytes);
	const offset = view.getUint32(at + 16, true);
	const size = view.getUint32(at + 12, true);
	if (at < 20 || view.getUint32(at - 20, true) !== END64_LOCATOR_MAGIC) return { offset, size };
	const end64 = await readFully(bytes, Number(view.getBigUint64(at - 12, true)), 56);
	const view64 = new DataView(end64.buffer, end64.byteOffset);
	if (view64.getUint32(0, true) !== END64_MAGIC) throw damaged(bytes);
	return { offset: Number(view64.getBigUint64(48, true)), size: Number(view64.getBigUint64(40, true)) };
}

function damaged(bytes: Bytes): SaeError {
	return new SaeError(`${bytes.name}: is not a sound ZIP archive; it is cut off or damaged`);
}
