/** Ways to store rows so that they can be compared by cosine: dense vectors of some width, or sparse codes. */
import type { Codes, CounterRng } from "saeflow";
import { symmetricEigen } from "../geometry/eigen.ts";

/** Rows that directions are found from, at most. */
const MOMENT_ROWS = 8192;

/** Cosines of a query with all rows. */
export interface View {
	/** Numbers that a row holds. */
	readonly numbers: number;
	/** Bytes of one row. */
	readonly bytes: number;
	scores(query: number): Float64Array;
}

/** Vectors [rows, width] in float32. */
export interface Vectors {
	readonly data: Float32Array;
	readonly rows: number;
	readonly width: number;
}

export function denseView(rows: Vectors, queries: Vectors): View {
	const [all, asked] = [unit(rows), unit(queries)];
	const { width } = rows;
	return {
		numbers: width,
		bytes: 4 * width,
		scores(query) {
			const from = query * width;
			return Float64Array.from({ length: rows.rows }, (_, row) => {
				let sum = 0;
				for (let i = 0, at = row * width; i < width; i++) sum += all[at + i]! * asked[from + i]!;
				return sum;
			});
		},
	};
}

/** A code takes its value in float32, and its number in 2 bytes where these do, else in 4. */
export function sparseView(rows: Codes, queries: Codes, k: number, d_sae: number): View {
	const [all, asked] = [unitCodes(largestCodes(rows, k)), unitCodes(largestCodes(queries, k))];
	const dense = new Float64Array(d_sae);
	return {
		numbers: k,
		bytes: codeBytes(k, d_sae),
		scores(query) {
			const [from, to] = [asked.offsets[query]!, asked.offsets[query + 1]!];
			for (let entry = from; entry < to; entry++) dense[asked.index[entry]!] = asked.value[entry]!;
			const scores = Float64Array.from({ length: all.rows }, (_, row) => {
				let sum = 0;
				for (let entry = all.offsets[row]!; entry < all.offsets[row + 1]!; entry++) {
					sum += all.value[entry]! * dense[all.index[entry]!]!;
				}
				return sum;
			});
			for (let entry = from; entry < to; entry++) dense[asked.index[entry]!] = 0;
			return scores;
		},
	};
}

export function codeBytes(k: number, d_sae: number): number {
	return k * (4 + (d_sae <= 1 << 16 ? 2 : 4));
}

/** The k entries of each row that are largest by magnitude, the lower latent of equal ones. */
export function largestCodes(codes: Codes, k: number): Codes {
	const kept: number[] = [];
	const offsets = new Uint32Array(codes.rows + 1);
	for (let row = 0; row < codes.rows; row++) {
		const entries = Array.from(
			{ length: codes.offsets[row + 1]! - codes.offsets[row]! },
			(_, i) => codes.offsets[row]! + i,
		);
		const size = (entry: number) => Math.abs(codes.value[entry]!);
		const largest = entries.sort((a, b) => size(b) - size(a) || a - b).slice(0, k);
		kept.push(...largest.sort((a, b) => a - b));
		offsets[row + 1] = kept.length;
	}
	return {
		rows: codes.rows,
		offsets,
		index: Uint32Array.from(kept, (entry) => codes.index[entry]!),
		value: Float32Array.from(kept, (entry) => codes.value[entry]!),
	};
}

/** The first dimensions of each row. */
export function prefix({ data, rows, width }: Vectors, dims: number): Vectors {
	const taken = new Float32Array(rows * dims);
	for (let row = 0; row < rows; row++) {
		taken.set(data.subarray(row * width, row * width + dims), row * dims);
	}
	return { data: taken, rows, width: dims };
}

/** Rows times the first `dims` of some directions [directions][width]. */
export function projected(
	{ data, rows, width }: Vectors,
	directions: readonly Float64Array[],
	dims: number,
): Vectors {
	const out = new Float32Array(rows * dims);
	for (let row = 0; row < rows; row++) {
		for (let d = 0; d < dims; d++) {
			const direction = directions[d]!;
			let sum = 0;
			for (let i = 0, at = row * width; i < width; i++) sum += data[at + i]! * direction[i]!;
			out[row * dims + d] = sum;
		}
	}
	return { data: out, rows, width: dims };
}

/**
 * The directions that rows are largest in, first the largest: principal components without centring, since cosines are
 * not about the mean. Of the first 8,192 rows.
 */
export function principalDirections({ data, rows, width }: Vectors, most: number): Float64Array[] {
	const moments = Array.from({ length: width }, () => new Float64Array(width));
	for (let row = 0; row < Math.min(rows, MOMENT_ROWS); row++) {
		const values = data.subarray(row * width, (row + 1) * width);
		for (let i = 0; i < width; i++) {
			const into = moments[i]!;
			const value = values[i]!;
			for (let j = 0; j <= i; j++) into[j]! += value * values[j]!;
		}
	}
	for (let i = 0; i < width; i++) for (let j = 0; j < i; j++) moments[j]![i] = moments[i]![j]!;
	return symmetricEigen(moments, true).vectors.toReversed().slice(0, most);
}

/** Directions whose numbers are normal at random. */
export function randomDirections(width: number, count: number, random: CounterRng): Float64Array[] {
	return Array.from({ length: count }, (_, d) =>
		Float64Array.from({ length: width }, (_, i) => random.normal(d * width + i)),
	);
}

function unit({ data, rows, width }: Vectors): Float32Array {
	const out = new Float32Array(data.length);
	for (let row = 0; row < rows; row++) {
		let square = 0;
		for (let i = row * width; i < (row + 1) * width; i++) square += data[i]! * data[i]!;
		const scale = square === 0 ? 0 : 1 / Math.sqrt(square);
		for (let i = row * width; i < (row + 1) * width; i++) out[i] = data[i]! * scale;
	}
	return out;
}

function unitCodes(codes: Codes): Codes {
	const value = new Float32Array(codes.value.length);
	for (let row = 0; row < codes.rows; row++) {
		const [from, to] = [codes.offsets[row]!, codes.offsets[row + 1]!];
		let square = 0;
		for (let entry = from; entry < to; entry++) square += codes.value[entry]! ** 2;
		for (let entry = from; entry < to; entry++) value[entry] = codes.value[entry]! / (Math.sqrt(square) || 1);
	}
	return { ...codes, value };
}
