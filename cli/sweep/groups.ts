/** Which SAEs of a sweep train together. */

/**
 * Neighbours together, as many as fit into `memory` bytes. One that does not fit by itself is a group too: what it
 * takes is an estimate.
 */
export function packGroups<T>(items: readonly T[], bytesOf: (item: T) => number, memory: number): T[][] {
	const groups: T[][] = [];
	let left = 0;
	for (const item of items) {
		const bytes = bytesOf(item);
		const group = groups.at(-1);
		if (group && bytes <= left) group.push(item);
		else {
			groups.push([item]);
			left = memory;
		}
		left -= bytes;
	}
	return groups;
}

const UNITS = ["B", "kB", "MB", "GB", "TB"];

/** `12.3 GB`, in powers of ten, as `--memory` reads them. */
export function bytesText(bytes: number): string {
	const power = Math.min(Math.floor(Math.log10(Math.max(1, bytes)) / 3), UNITS.length - 1);
	return `${(bytes / 1000 ** power).toPrecision(3)} ${UNITS[power]}`;
}
