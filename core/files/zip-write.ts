/** Writes ZIP archives of stored members, with ZIP64 where sizes need it. Format: PKWARE's APPNOTE, 4.3 and 4.5.3. */
import { crc32 } from "node:zlib";
import { writeAtomically } from "./atomic.ts";

export interface MemberToWrite {
	readonly name: string;
	readonly data: Uint8Array;
}

const NARROW = 0xffffffff;
/** 1980-01-01, so that the same content gives the same bytes. */
const DATE = 0x21;
const LOCAL_BYTES = 30;
/** Where PyTorch pads members, so that their data can be mapped into memory. */
const PADDING_FIELD = 0x4246;

/** Writes the archive, which appears at `path` only when it is complete. Data begins at multiples of `align` bytes. */
export async function writeZip(path: string, members: readonly MemberToWrite[], align = 1): Promise<void> {
	await writeAtomically(path, async (append) => {
		let offset = 0;
		const entries: Uint8Array[] = [];
		for (const { name, data } of members) {
			const member = { name: Buffer.from(name), size: data.length, crc: crc32(data), offset };
			const header = localHeader(member, align);
			await append(header);
			await append(data);
			entries.push(directoryEntry(member));
			offset += header.length + data.length;
		}
		const directory = Buffer.concat(entries);
		await append(directory);
		await append(endOf(members.length, directory.length, offset));
	});
}

interface Member {
	readonly name: Uint8Array;
	readonly size: number;
	readonly crc: number;
	readonly offset: number;
}

/** Little-endian fields: [bytes, value] one after the other. */
function pack(...fields: readonly (readonly [bytes: 2 | 4 | 8, value: number])[]): Uint8Array {
	const out = new Uint8Array(fields.reduce((sum, [bytes]) => sum + bytes, 0));
	const view = new DataView(out.buffer);
	let at = 0;
	for (const [bytes, value] of fields) {
		if (bytes === 2) view.setUint16(at, value, true);
		else if (bytes === 4) view.setUint32(at, value, true);
		else view.setBigUint64(at, BigInt(value), true);
		at += bytes;
	}
	return out;
}

function localHeader({ name, size, crc, offset }: Member, align: number): Uint8Array {
	const wide = size >= NARROW;
	const sizes = wide ? pack([2, 1], [2, 16], [8, size], [8, size]) : new Uint8Array(0);
	const unpadded = offset + LOCAL_BYTES + name.length + sizes.length;
	// A field has four bytes of its own.
	const gap = align === 1 ? 0 : 4 + ((align - ((unpadded + 4) % align)) % align);
	const padding =
		gap === 0
			? new Uint8Array(0)
			: Buffer.concat([pack([2, PADDING_FIELD], [2, gap - 4]), new Uint8Array(gap - 4)]);
	const narrow = wide ? NARROW : size;
	return Buffer.concat([
		pack(
			[4, 0x04034b50],
			[2, wide ? 45 : 20],
			[2, 0],
			[2, 0],
			[2, 0],
			[2, DATE],
			[4, crc],
			[4, narrow],
			[4, narrow],
			[2, name.length],
			[2, sizes.length + padding.length],
		),
		name,
		sizes,
		padding,
	]);
}

function directoryEntry({ name, size, crc, offset }: Member): Uint8Array {
	const wide = (value: number): (readonly [8, number])[] => (value >= NARROW ? [[8, value]] : []);
	const values = [...wide(size), ...wide(size), ...wide(offset)];
	const extra = values.length > 0 ? pack([2, 1], [2, 8 * values.length], ...values) : new Uint8Array(0);
	const version = values.length > 0 ? 45 : 20;
	const narrow = Math.min(size, NARROW);
	return Buffer.concat([
		pack(
			[4, 0x02014b50],
			[2, version],
			[2, version],
			[2, 0],
			[2, 0],
			[2, 0],
			[2, DATE],
			[4, crc],
			[4, narrow],
			[4, narrow],
			[2, name.length],
			[2, extra.length],
			[2, 0],
			[2, 0],
			[2, 0],
			[4, 0],
			[4, Math.min(offset, NARROW)],
		),
		name,
		extra,
	]);
}

function endOf(count: number, size: number, offset: number): Uint8Array {
	const end = pack(
		[4, 0x06054b50],
		[2, 0],
		[2, 0],
		[2, count],
		[2, count],
		[4, size],
		[4, Math.min(offset, NARROW)],
		[2, 0],
	);
	if (offset < NARROW) return end;
	const end64 = pack(
		[4, 0x06064b50],
		[8, 44],
		[2, 45],
		[2, 45],
		[4, 0],
		[4, 0],
		[8, count],
		[8, count],
		[8, size],
		[8, offset],
	);
	return Buffer.concat([end64, pack([4, 0x07064b50], [4, 0], [8, offset + size], [4, 1]), end]);
}
