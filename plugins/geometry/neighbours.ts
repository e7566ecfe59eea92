/** How near decoder directions are to each other, without all pairs in memory. */
import { dot } from "../recovery/cosines.ts";

export interface Neighbours {
	/** Largest cosine of each row with another one. */
	readonly nearest: Float64Array;
	/** Mean and standard deviation of the cosines of all pairs. */
	readonly mean: number;
	readonly deviation: number;
	/** Rows in each cluster, largest first: what chains of pairs with at least the given cosine connect. */
	readonly clusters: readonly number[];
}

/** `rows`: two or more, of unit norm. */
export async function neighbours(
	rows: readonly Float64Array[],
	threshold: number,
	pause: (row: number) => Promise<void>,
): Promise<Neighbours> {
	const nearest = new Float64Array(rows.length).fill(-1);
	const parent = Int32Array.from(rows.keys());
	const root = (row: number): number => {
		let at = row;
		while (parent[at] !== at) at = parent[at] = parent[parent[at]!]!;
		return at;
	};
	let [sum, square] = [0, 0];
	for (let i = 0; i < rows.length; i++) {
		if (i % 256 === 0) await pause(i);
		for (let j = 0; j < i; j++) {
			const cosine = dot(rows[i]!, rows[j]!);
			sum += cosine;
			square += cosine * cosine;
			if (cosine > nearest[i]!) nearest[i] = cosine;
			if (cosine > nearest[j]!) nearest[j] = cosine;
			if (cosine >= threshold) parent[root(i)] = root(j);
		}
	}
	const pairs = (rows.length * (rows.length - 1)) / 2;
	const mean = sum / pairs;
	const sizes = new Map<number, number>();
	for (const row of rows.keys()) sizes.set(root(row), (sizes.get(root(row)) ?? 0) + 1);
	return {
		nearest,
		mean,
		deviation: Math.sqrt(Math.max(0, square / pairs - mean ** 2)),
		clusters: [...sizes.values()].sort((a, b) => b - a),
	};
}
