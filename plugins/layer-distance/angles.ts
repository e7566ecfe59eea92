/** How far apart the directions of matching rows are. */

/** Changes rows [n, width] in place: the mean is taken off, and each is scaled to unit length; zeros stay. */
export function centredDirections(rows: Float32Array, width: number): void {
	const count = rows.length / width;
	const mean = new Float64Array(width);
	for (let i = 0; i < rows.length; i++) mean[i % width]! += rows[i]! / count;
	for (let at = 0; at < rows.length; at += width) {
		let square = 0;
		for (let i = 0; i < width; i++) square += (rows[at + i]! - mean[i]!) ** 2;
		const scale = square > 0 ? 1 / Math.sqrt(square) : 0;
		for (let i = 0; i < width; i++) rows[at + i] = (rows[at + i]! - mean[i]!) * scale;
	}
}

/** Mean over rows of the angle between unit rows of `a` and of `b`, as a share of half a turn: 0 to 1. */
export function meanAngle(a: Float32Array, b: Float32Array, width: number): number {
	let sum = 0;
	for (let at = 0; at < a.length; at += width) {
		let cosine = 0;
		for (let i = at; i < at + width; i++) cosine += a[i]! * b[i]!;
		sum += Math.acos(Math.min(1, Math.max(-1, cosine))) / Math.PI;
	}
	return sum / (a.length / width);
}
