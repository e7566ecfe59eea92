/** Cosine similarities between all rows of two dictionaries, in float64. */

export interface Dictionary {
	readonly rows: number;
	readonly width: number;
	/** Row-major [rows, width]. */
	readonly data: ArrayLike<number>;
}

/** Row i holds the cosines of row i of `a` with every row of `b`. A row of zeros is at right angles to all. */
export function cosines(a: Dictionary, b: Dictionary): Float64Array[] {
	const left = unitRows(a);
	const right = unitRows(b);
	return left.map((row) => Float64Array.from(right, (other) => dot(row, other)));
}

/** Every row at unit norm; one of zeros stays. */
export function unitRows({ rows, width, data }: Dictionary): Float64Array[] {
	return Array.from({ length: rows }, (_, row) => {
		const values = Float64Array.from({ length: width }, (_, i) => data[row * width + i]!);
		const norm = Math.sqrt(dot(values, values));
		return norm === 0 ? values : values.map((value) => value / norm);
	});
}

export function dot(a: Float64Array, b: Float64Array): number {
	let sum = 0;
	for (let i = 0; i < a.length; i++) sum += a[i]! * b[i]!;
	return sum;
}
