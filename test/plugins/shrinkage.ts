/**
 * How much reconstructions shrink: E‖x̂‖² / E[x·x̂], below 1 for codes that a penalty makes too small (Rajamanoharan et
 * al. 2024).
 */
export function shrinkage(rows: Float32Array, decoded: Float32Array): number {
	let [norm, product] = [0, 0];
	for (const [i, value] of decoded.entries()) {
		norm += value ** 2;
		product += value * rows[i]!;
	}
	return norm / product;
}
