/** How rows are cut into shards, and whether these fit on the disk. */
import { statfs } from "node:fs/promises";
import { SaeError } from "../errors.ts";

/**
 * Rows that no batch of a shard reaches across, counted from the shard's first. A reader that takes rows in runs of so
 * many reads no batch twice.
 */
export const RUN_ROWS = 1024;

/** Bytes of a shard unless something else is asked for. */
const SHARD_BYTES = 256e6;

/** Rows of a shard of about `bytes` bytes: whole runs, where there is at least one. */
export function rowsPerShard(rowBytes: number, bytes = SHARD_BYTES): number {
	const rows = Math.max(1, Math.floor(bytes / rowBytes));
	return rows < RUN_ROWS ? rows : rows - (rows % RUN_ROWS);
}

export interface Room {
	readonly folder: string;
	/** Bytes of a row, about. */
	readonly rowBytes: number;
	/** Rows that are to be written. */
	readonly rows: number;
	/** Bytes that the disk has left. */
	readonly free: number;
}

/** @throws SaeError when the disk has no room for so many rows. */
export function checkRoom({ folder, rowBytes, rows, free }: Room): void {
	if (rows * rowBytes <= free) return;
	throw new SaeError(
		`${folder}: ${rows} rows of ${rowText(rowBytes)} need ${sizeText(rows * rowBytes)}, but only ${sizeText(free)} are free; choose another disk or fewer rows`,
	);
}

/**
 * One line that says how much will be written.
 *
 * @param sizes.rows that are still to come, when that is known.
 * @throws SaeError when the disk has no room for it, or for one shard when the number of rows is unknown.
 */
export function statedSizes({
	rowsPerShard,
	rows,
	...room
}: Omit<Room, "rows"> & { readonly rows: number | undefined; readonly rowsPerShard: number }): string {
	const { rowBytes, free } = room;
	checkRoom({ ...room, rows: rows ?? rowsPerShard });
	const shard = `${rowsPerShard} rows (${sizeText(rowBytes * rowsPerShard)})`;
	if (rows === undefined) {
		return `rows of ${rowText(rowBytes)}, shards of ${shard}; how many will come is not known; ${sizeText(free)} are free: room for ${Math.floor(free / rowBytes)} rows`;
	}
	return `${rows} rows of ${rowText(rowBytes)}: ${sizeText(rows * rowBytes)} in ${shardCount(Math.ceil(rows / rowsPerShard))} of up to ${shard}; ${sizeText(free)} are free`;
}

/** `1 shard`, `12 shards`. */
export function shardCount(count: number): string {
	return `${count} shard${count === 1 ? "" : "s"}`;
}

function rowText(rowBytes: number): string {
	return `${+rowBytes.toFixed(1)} bytes`;
}

/** Bytes that may still be written where `folder` lies. */
export async function freeBytes(folder: string): Promise<number> {
	const { bavail, bsize } = await statfs(folder);
	return bavail * bsize;
}

const UNITS = ["bytes", "kB", "MB", "GB", "TB", "PB"];

/** `1.50 MB`, in powers of 1000. */
export function sizeText(bytes: number): string {
	let unit = 0;
	let size = bytes;
	for (; size >= 999.5 && unit < UNITS.length - 1; unit++) size /= 1000;
	return unit === 0 ? `${Math.round(size)} bytes` : `${size.toPrecision(3)} ${UNITS[unit]}`;
}
