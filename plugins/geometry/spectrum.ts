/** The eigenvalues of the covariance of decoder rows, and the power law that they follow. */
import type { Dictionary } from "../recovery/cosines.ts";
import { symmetricEigen } from "./eigen.ts";

/** Largest first. */
export function covarianceEigenvalues({ rows, width, data }: Dictionary): Float64Array {
	const mean = new Float64Array(width);
	for (let i = 0; i < rows * width; i++) mean[i % width]! += data[i]! / rows;
	const covariance = Array.from({ length: width }, () => new Float64Array(width));
	const row = new Float64Array(width);
	for (let r = 0; r < rows; r++) {
		for (let i = 0; i < width; i++) row[i] = data[r * width + i]! - mean[i]!;
		for (let i = 0; i < width; i++) {
			const into = covariance[i]!;
			const share = row[i]! / rows;
			for (let j = 0; j <= i; j++) into[j]! += share * row[j]!;
		}
	}
	for (let i = 0; i < width; i++) for (let j = 0; j < i; j++) covariance[j]![i] = covariance[i]![j]!;
	return symmetricEigen(covariance, false).values.reverse();
}

export interface PowerLaw {
	readonly exponent: number;
	/** Standard error of the exponent. */
	readonly error: number;
}

/**
 * α of λ_r ∝ r^−α, by least squares of log λ on log r over ranks 10 to 150, or what there is of them. Null for fewer
 * than three positive eigenvalues there.
 */
export function powerLaw(eigenvalues: Float64Array): PowerLaw | null {
	const points = [...eigenvalues.entries()]
		.map(([i, value]) => ({ rank: i + 1, value }))
		.filter(({ rank, value }) => rank >= 10 && rank <= 150 && value > 1e-12 * eigenvalues[0]!)
		.map(({ rank, value }) => [Math.log(rank), Math.log(value)] as const);
	const n = points.length;
	if (n < 3) return null;
	const centre = [0, 1].map((axis) => points.reduce((sum, point) => sum + point[axis as 0 | 1], 0) / n);
	const [cx, cy] = centre as [number, number];
	const xx = points.reduce((sum, [x]) => sum + (x - cx) ** 2, 0);
	const slope = points.reduce((sum, [x, y]) => sum + (x - cx) * (y - cy), 0) / xx;
	const rest = points.reduce((sum, [x, y]) => sum + (y - cy - slope * (x - cx)) ** 2, 0);
	return { exponent: -slope, error: Math.sqrt(rest / (n - 2) / xx) };
}
