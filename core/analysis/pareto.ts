/**
 * The items that no other beats: less of `x` for as little of `y`, in ascending order of x. Of items that are equal in
 * both the first counts.
 */
export function paretoFront<T>(items: readonly T[], x: (item: T) => number, y: (item: T) => number): T[] {
	const ordered = [...items].sort((a, b) => x(a) - x(b) || y(a) - y(b));
	let least = Number.POSITIVE_INFINITY;
	return ordered.filter((item) => {
		if (y(item) >= least) return false;
		least = y(item);
		return true;
	});
}
