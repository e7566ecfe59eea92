/** Spectral clusters, and whether two ways to cluster agree. */
import type { CounterRng } from "saeflow";
import { symmetricEigen } from "./eigen.ts";

const RESTARTS = 10;
const MOST_ROUNDS = 100;

/** Cluster of each item, from a symmetric affinity without negative values (Ng, Jordan & Weiss 2001). */
export function spectralClusters(
	affinity: readonly Float64Array[],
	count: number,
	random: CounterRng,
): Int32Array {
	const roots = affinity.map((row) => Math.sqrt(row.reduce((sum, value) => sum + value, 0)) || 1);
	const normalised = affinity.map((row, i) => row.map((value, j) => value / (roots[i]! * roots[j]!)));
	const vectors = symmetricEigen(normalised, true).vectors.slice(-count);
	const points = affinity.map((_, i) => {
		const point = Float64Array.from(vectors, (vector) => vector[i]!);
		const norm = Math.sqrt(point.reduce((sum, value) => sum + value * value, 0)) || 1;
		return point.map((value) => value / norm);
	});
	return kMeans(points, count, random);
}

/** The best of ten runs of Lloyd's method from k-means++ starts. */
function kMeans(points: readonly Float64Array[], count: number, random: CounterRng): Int32Array {
	let best = { labels: new Int32Array(points.length), cost: Number.POSITIVE_INFINITY };
	for (let restart = 0; restart < RESTARTS; restart++) {
		let centres = spread(points, count, random.derive(restart));
		let run = assign(points, centres);
		for (let round = 0; round < MOST_ROUNDS; round++) {
			centres = centres.map((centre, c) => meanOf(points.filter((_, i) => run.labels[i] === c)) ?? centre);
			const next = assign(points, centres);
			if (next.cost >= run.cost) break;
			run = next;
		}
		if (run.cost < best.cost) best = run;
	}
	return best.labels;
}

/** Each centre is a point, chosen with probability as its squared distance from those before it. */
function spread(points: readonly Float64Array[], count: number, random: CounterRng): Float64Array[] {
	const centres = [points[Math.floor(random.uniform(0) * points.length)]!];
	while (centres.length < count) {
		const weights = points.map((point) => Math.min(...centres.map((centre) => distance(point, centre))));
		let left = random.uniform(centres.length) * weights.reduce((sum, weight) => sum + weight, 0);
		const chosen = weights.findIndex((weight) => {
			left -= weight;
			return left < 0;
		});
		centres.push(points[Math.max(0, chosen)]!);
	}
	return centres;
}

function assign(points: readonly Float64Array[], centres: readonly Float64Array[]) {
	let cost = 0;
	const labels = Int32Array.from(points, (point) => {
		const distances = centres.map((centre) => distance(point, centre));
		const nearest = Math.min(...distances);
		cost += nearest;
		return distances.indexOf(nearest);
	});
	return { labels, cost };
}

function meanOf(points: readonly Float64Array[]): Float64Array | undefined {
	const [first] = points;
	return first?.map((_, d) => points.reduce((sum, point) => sum + point[d]!, 0) / points.length);
}

function distance(a: Float64Array, b: Float64Array): number {
	let sum = 0;
	for (let i = 0; i < a.length; i++) sum += (a[i]! - b[i]!) ** 2;
	return sum;
}

/** How often each pair of labels meets, and each label by itself. */
function tally(a: Int32Array, b: Int32Array) {
	const [rows, columns] = [a, b].map((labels) => Math.max(...labels) + 1) as [number, number];
	const cells = new Float64Array(rows * columns);
	const [inA, inB] = [new Float64Array(rows), new Float64Array(columns)];
	a.forEach((label, i) => {
		cells[label * columns + b[i]!]!++;
		inA[label]!++;
		inB[b[i]!]!++;
	});
	return { cells, inA, inB, columns };
}

/** Mutual information of two labellings, in nats. */
export function mutualInformation(a: Int32Array, b: Int32Array): number {
	const { cells, inA, inB, columns } = tally(a, b);
	const n = a.length;
	return cells.reduce((sum, both, cell) => {
		if (both === 0) return sum;
		const [own, other] = [inA[Math.floor(cell / columns)]!, inB[cell % columns]!];
		return sum + (both / n) * Math.log((both * n) / (own * other));
	}, 0);
}

/**
 * (MI − E) / (mean entropy − E), with the expectation E over all permutations of one of them (Vinh, Epps & Bailey 2010):
 * 1 for the same clusters, about 0 for unrelated ones. Null where both are one cluster.
 */
export function adjustedMutualInformation(a: Int32Array, b: Int32Array): number | null {
	const { inA, inB } = tally(a, b);
	const n = a.length;
	const logFactorial = new Float64Array(n + 1);
	for (let i = 1; i <= n; i++) logFactorial[i] = logFactorial[i - 1]! + Math.log(i);
	const f = (i: number) => logFactorial[i]!;
	let expected = 0;
	for (const x of inA) {
		for (const y of inB) {
			for (let both = Math.max(1, x + y - n); both <= Math.min(x, y); both++) {
				const ways = f(x) + f(y) + f(n - x) + f(n - y) - f(n);
				const rest = f(both) + f(x - both) + f(y - both) + f(n - x - y + both);
				expected += (both / n) * Math.log((n * both) / (x * y)) * Math.exp(ways - rest);
			}
		}
	}
	const spread = (entropy(inA, n) + entropy(inB, n)) / 2 - expected;
	return Math.abs(spread) < 1e-12 ? null : (mutualInformation(a, b) - expected) / spread;
}

function entropy(counts: Float64Array, n: number): number {
	return counts.reduce((sum, count) => (count === 0 ? sum : sum - (count / n) * Math.log(count / n)), 0);
}
