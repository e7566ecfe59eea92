/** Groups of items that are near each other: agglomerative clustering with complete linkage. */

/** Distances of every two items; symmetric, zeros on the diagonal. */
export type Distances = readonly (readonly number[])[];

/** Items by their index, ascending. */
export type Group = readonly number[];

/** The largest distance within a group; 0 for a single item. */
export function diameter(group: Group, distances: Distances): number {
	return Math.max(0, ...group.flatMap((a) => group.map((b) => distances[a]![b]!)));
}

/**
 * The groups of each step, from every item by itself to all in one: the two groups whose union has the smallest
 * diameter are joined, the first ones where several have.
 *
 * @param contiguous whether only groups whose items follow each other are joined.
 */
export function agglomerate(distances: Distances, contiguous: boolean): Group[][] {
	let groups: Group[] = distances.map((_, item) => [item]);
	const steps = [groups];
	while (groups.length > 1) {
		let best = { a: 0, b: 1, diameter: Number.POSITIVE_INFINITY };
		for (let a = 0; a < groups.length; a++) {
			const last = contiguous ? Math.min(a + 2, groups.length) : groups.length;
			for (let b = a + 1; b < last; b++) {
				const joined = diameter([...groups[a]!, ...groups[b]!], distances);
				if (joined < best.diameter) best = { a, b, diameter: joined };
			}
		}
		const { a, b } = best;
		const union = [...groups[a]!, ...groups[b]!].sort((x, y) => x - y);
		// Kept in the order of their first items, which are neighbours where they have to be.
		groups = groups.with(a, union).toSpliced(b, 1);
		steps.push(groups);
	}
	return steps;
}

/** Average maximum distance within groups (AMAD, Group-SAE). */
export function amad(groups: readonly Group[], distances: Distances): number {
	return groups.reduce((sum, group) => sum + diameter(group, distances), 0) / groups.length;
}
