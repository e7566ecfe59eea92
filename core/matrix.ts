/** The [columns, rows] array of a row-major [rows, columns] one, by blocks that stay in cache. */
export function transposed(data: Float32Array, rows: number, columns: number): Float32Array {
	const BLOCK = 32;
	const out = new Float32Array(data.length);
	for (let top = 0; top < rows; top += BLOCK) {
		for (let left = 0; left < columns; left += BLOCK) {
			for (let row = top; row < Math.min(top + BLOCK, rows); row++) {
				for (let column = left; column < Math.min(left + BLOCK, columns); column++) {
					out[column * rows + row] = data[row * columns + column]!;
				}
			}
		}
	}
	return out;
}
