/** The centre of a sample of rows, where a decoder bias starts. */

const MAX_ITERATIONS = 100;
const TOLERANCE = 1e-5;
const SMALLEST_DISTANCE = 1e-6;

/** The mean of the rows of `data` [rows, width], summed in float64. */
export function meanRow(data: Float32Array, width: number): Float64Array {
	const mean = new Float64Array(width);
	const rows = data.length / width;
	for (let row = 0; row < rows; row++) {
		for (let column = 0; column < width; column++) mean[column]! += data[row * width + column]!;
	}
	return mean.map((sum) => sum / rows);
}

/**
 * The point with the least summed distance to the rows, which outliers hardly move: Weiszfeld's iteration from the
 * mean, in float64, until it moves less than 1e-5 of its length or for 100 rounds.
 */
export function geometricMedian(data: Float32Array, width: number): Float64Array {
	let centre = meanRow(data, width);
	const rows = data.length / width;
	for (let iteration = 0; iteration < MAX_ITERATIONS; iteration++) {
		const next = new Float64Array(width);
		let weights = 0;
		for (let row = 0; row < rows; row++) {
			const at = row * width;
			let square = 0;
			for (let column = 0; column < width; column++) square += (data[at + column]! - centre[column]!) ** 2;
			const weight = 1 / Math.max(Math.sqrt(square), SMALLEST_DISTANCE);
			for (let column = 0; column < width; column++) next[column]! += weight * data[at + column]!;
			weights += weight;
		}
		let moved = 0;
		let length = 0;
		for (let column = 0; column < width; column++) {
			next[column]! /= weights;
			moved += (next[column]! - centre[column]!) ** 2;
			length += next[column]! ** 2;
		}
		centre = next;
		if (moved <= TOLERANCE ** 2 * Math.max(length, Number.MIN_VALUE)) break;
	}
	return centre;
}
