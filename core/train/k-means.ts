/** k-means centres of a sample of rows: Lloyd's iteration from a k-means++ start (Arthur & Vassilvitskii 2007). */
import { SaeError } from "../errors.ts";
import type { CounterRng } from "../random.ts";
import { meanRow } from "./centre.ts";

/** Multiplications to spend on it, about ten seconds, which bounds the rows that are looked at and the rounds. */
const BUDGET = 8e9;
/** Rounds that rows are left out for, and the most that there are. */
const WANTED_ROUNDS = 3;
const MOST_ROUNDS = 20;

/**
 * `n` centres [n, width] of the first rows of `data` [rows, width], less the mean of all: as many rows as the budget
 * allows, but at least one per centre, and at least one round.
 *
 * @throws SaeError when there are fewer rows than centres.
 */
export function kMeans(data: Float32Array, width: number, n: number, rng: CounterRng): Float32Array {
	const available = data.length / width;
	if (available < n) {
		throw new SaeError(
			`${n} k-means centres need at least as many rows to begin from, and the sample has ${available}: take more with --sample-rows, or fewer centres`,
		);
	}
	const round = n * width;
	const affordable = Math.floor(BUDGET / ((1 + WANTED_ROUNDS) * round));
	const rows = Math.min(available, Math.max(n, affordable));
	const mean = meanRow(data, width);
	const points = Float64Array.from(data.subarray(0, rows * width), (value, i) => value - mean[i % width]!);
	const centres = start(points, width, n, rng);
	const rounds = Math.min(MOST_ROUNDS, Math.max(1, Math.floor(BUDGET / (rows * round)) - 1));
	const nearest = new Int32Array(rows).fill(-1);
	for (let i = 0; i < rounds && assign(points, centres, width, nearest); i++) {
		move(points, centres, width, nearest);
	}
	return Float32Array.from(centres);
}

/** Each centre is a row, drawn in proportion to its squared distance from the nearest centre so far. */
function start(points: Float64Array, width: number, n: number, rng: CounterRng): Float64Array {
	const rows = points.length / width;
	const centres = new Float64Array(n * width);
	const distance = new Float64Array(rows).fill(1);
	for (let centre = 0; centre < n; centre++) {
		const total = distance.reduce((sum, square) => sum + square, 0);
		const row = drawnRow(distance, rng.uniform(centre) * total);
		centres.set(points.subarray(row * width, (row + 1) * width), centre * width);
		for (let other = 0; other < rows; other++) {
			const square = squaredDistance(points, other, centres, centre, width);
			if (centre === 0 || square < distance[other]!) distance[other] = square;
		}
	}
	return centres;
}

/** The row at which the sum of weights passes `wanted`; the last one, where all are 0. */
function drawnRow(weights: Float64Array, wanted: number): number {
	let sum = 0;
	for (const [row, weight] of weights.entries()) {
		sum += weight;
		if (sum > wanted) return row;
	}
	return weights.length - 1;
}

/** Each row's nearest centre; the lowest of equals. Says whether any is another than before. */
function assign(points: Float64Array, centres: Float64Array, width: number, nearest: Int32Array): boolean {
	let changed = false;
	for (const [row, before] of nearest.entries()) {
		let best = 0;
		let least = Number.POSITIVE_INFINITY;
		for (let centre = 0; centre < centres.length / width; centre++) {
			const square = squaredDistance(points, row, centres, centre, width);
			if (square < least) {
				least = square;
				best = centre;
			}
		}
		nearest[row] = best;
		changed ||= best !== before;
	}
	return changed;
}

/** Each centre goes to the mean of its rows; one that has none stays. */
function move(points: Float64Array, centres: Float64Array, width: number, nearest: Int32Array): void {
	const counts = new Float64Array(centres.length / width);
	for (const centre of nearest) counts[centre]!++;
	for (const [centre, count] of counts.entries()) {
		if (count > 0) centres.fill(0, centre * width, (centre + 1) * width);
	}
	for (const [row, centre] of nearest.entries()) {
		for (let i = 0; i < width; i++) {
			centres[centre * width + i]! += points[row * width + i]! / counts[centre]!;
		}
	}
}

function squaredDistance(
	a: Float64Array,
	aRow: number,
	b: Float64Array,
	bRow: number,
	width: number,
): number {
	let sum = 0;
	for (let i = 0; i < width; i++) {
		const difference = a[aRow * width + i]! - b[bRow * width + i]!;
		sum += difference * difference;
	}
	return sum;
}
