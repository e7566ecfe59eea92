/** Where each latent lies on a map of the decoder: rows of unit norm in two dimensions, each from −1 to 1. */
import { UMAP } from "umap-js";
import { CounterRng } from "../../../core/random.ts";
import type { MapKind } from "./format.ts";

/** More latents than this take more than ten seconds. */
export const MOST_FOR_UMAP = 2500;

const NEIGHBOURS = 15;
const MIN_DISTANCE = 0.1;
const SEED = 42;
/** Rounds of the iteration for principal components: directions on a picture need few digits. */
const ROUNDS = 12;

/** `x` and `y` of each row. */
export interface Places {
	readonly x: Float32Array;
	readonly y: Float32Array;
}

/**
 * Places of some rows of a decoder.
 *
 * @param decoder [d_sae, width], row-major
 * @param latents which rows, in the order in which places are wanted
 */
export function mapOf(
	kind: MapKind,
	decoder: Float32Array,
	width: number,
	latents: readonly number[],
): Places {
	const rows = unitRows(decoder, width, latents);
	return scaled(kind === "umap" ? umap(rows, width) : principal(rows, width));
}

function unitRows(decoder: Float32Array, width: number, latents: readonly number[]): Float32Array {
	const rows = new Float32Array(latents.length * width);
	for (const [i, latent] of latents.entries()) {
		const row = decoder.subarray(latent * width, (latent + 1) * width);
		const norm = Math.sqrt(row.reduce((sum, value) => sum + value * value, 0)) || 1;
		for (let d = 0; d < width; d++) rows[i * width + d] = row[d]! / norm;
	}
	return rows;
}

function randomNumbers(): () => number {
	const rng = new CounterRng(SEED);
	let drawn = 0;
	return () => rng.uniform(drawn++);
}

function umap(rows: Float32Array, width: number): Places {
	const count = rows.length / width;
	const nNeighbors = Math.min(NEIGHBOURS, count - 1);
	const map = new UMAP({ nNeighbors, minDist: MIN_DISTANCE, random: randomNumbers() });
	const { indices, distances } = nearest(rows, width, nNeighbors);
	map.setPrecomputedKNN(indices, distances);
	const places = map.fit(Array.from({ length: count }, (_, i) => [i]));
	return {
		x: Float32Array.from(places, (place) => place[0]!),
		y: Float32Array.from(places, (place) => place[1]!),
	};
}

/** The rows of the largest cosines with each row, itself first, and 1 − cosine. */
function nearest(rows: Float32Array, width: number, wanted: number) {
	const count = rows.length / width;
	const indices: number[][] = [];
	const distances: number[][] = [];
	const cosines = new Float32Array(count);
	for (let i = 0; i < count; i++) {
		for (let j = 0; j < count; j++) {
			let sum = 0;
			for (let d = 0; d < width; d++) sum += rows[i * width + d]! * rows[j * width + d]!;
			cosines[j] = j === i ? 2 : sum;
		}
		const order = largest(cosines, wanted);
		indices.push(order);
		distances.push(order.map((j) => (j === i ? 0 : Math.max(0, 1 - cosines[j]!))));
	}
	return { indices, distances };
}

/** Indices of the `wanted` largest values, largest first. */
function largest(values: Float32Array, wanted: number): number[] {
	const found: number[] = [];
	for (let i = 0; i < values.length; i++) {
		if (found.length === wanted && values[i]! <= values[found.at(-1)!]!) continue;
		let at = found.length;
		while (at > 0 && values[found[at - 1]!]! < values[i]!) at--;
		found.splice(at, 0, i);
		if (found.length > wanted) found.pop();
	}
	return found;
}

/** The two directions of most variance, by iterating on two vectors at once. */
function principal(rows: Float32Array, width: number): Places {
	const count = rows.length / width;
	const mean = new Float32Array(width);
	for (let i = 0; i < rows.length; i++) mean[i % width]! += rows[i]! / count;
	const random = randomNumbers();
	let axes: Float32Array[] = [0, 1].map(() => Float32Array.from({ length: width }, () => random() - 0.5));
	const project = (axis: Float32Array) => {
		const offset = dot(mean, 0, axis);
		return Float32Array.from({ length: count }, (_, i) => dot(rows, i * width, axis) - offset);
	};
	for (let round = 0; round < ROUNDS; round++) {
		axes = axes.map((axis) => {
			const along = project(axis);
			const next = new Float32Array(width);
			for (let i = 0; i < count; i++) {
				for (let d = 0; d < width; d++) next[d]! += along[i]! * (rows[i * width + d]! - mean[d]!);
			}
			return next;
		});
		axes = orthonormal(axes as [Float32Array, Float32Array]);
	}
	return { x: project(axes[0]!), y: project(axes[1]!) };
}

function dot(rows: Float32Array, from: number, axis: Float32Array): number {
	let sum = 0;
	for (let d = 0; d < axis.length; d++) sum += rows[from + d]! * axis[d]!;
	return sum;
}

function orthonormal([a, b]: readonly [Float32Array, Float32Array]): [Float32Array, Float32Array] {
	const unit = (axis: Float32Array) => {
		const norm = Math.sqrt(dot(axis, 0, axis)) || 1;
		return axis.map((value) => value / norm);
	};
	const first = unit(a);
	const along = dot(b, 0, first);
	return [first, unit(b.map((value, d) => value - along * first[d]!))];
}

/** Both axes by one factor, so that the larger goes from −1 to 1. */
function scaled({ x, y }: Places): Places {
	const range = (values: Float32Array) => {
		let [low, high] = [Number.POSITIVE_INFINITY, Number.NEGATIVE_INFINITY];
		for (const value of values) {
			low = Math.min(low, value);
			high = Math.max(high, value);
		}
		return { middle: (low + high) / 2, half: (high - low) / 2 };
	};
	const [across, up] = [range(x), range(y)];
	const half = Math.max(across.half, up.half) || 1;
	return {
		x: x.map((value) => (value - across.middle) / half),
		y: y.map((value) => (value - up.middle) / half),
	};
}
