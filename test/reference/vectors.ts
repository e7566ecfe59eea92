/** Rows of row-major float64 matrices. */

export function dot(a: Float64Array, aRow: number, b: Float64Array, bRow: number, width: number): number {
	let sum = 0;
	for (let i = 0; i < width; i++) sum += a[aRow * width + i]! * b[bRow * width + i]!;
	return sum;
}

/** dest[row] += scale · source[sourceRow] */
export function addRow(
	dest: Float64Array,
	row: number,
	scale: number,
	source: Float64Array,
	sourceRow: number,
	width: number,
): void {
	for (let i = 0; i < width; i++) dest[row * width + i]! += scale * source[sourceRow * width + i]!;
}

/** Σ ‖row − mean‖². */
export function spreadOf(data: Float64Array, width: number): number {
	const mean = new Float64Array(width);
	for (const [i, value] of data.entries()) mean[i % width]! += (value * width) / data.length;
	return data.reduce((sum, value, i) => sum + (value - mean[i % width]!) ** 2, 0);
}
