import { describe, expect, test } from "bun:test";
import { CounterRng } from "../../../core/random.ts";
import { initialise } from "../../../core/train/initialise.ts";
import { kMeans } from "../../../core/train/k-means.ts";
import { FAMILIES } from "../../reference/cases.ts";

/** Rows in tight clusters about these points, in turns. */
const POINTS = [
	[0, 0],
	[10, 0],
	[0, 10],
	[7, 7],
];
const rng = new CounterRng(1);
const data = Float32Array.from({ length: 4 * 50 * 2 }, (_, i) => {
	const point = POINTS[Math.floor(i / 2) % 4]!;
	return point[i % 2]! + 0.1 * rng.normal(i);
});

const sorted = (values: Float32Array) =>
	Array.from({ length: values.length / 2 }, (_, i) => [values[2 * i]!, values[2 * i + 1]!]).toSorted(
		(a, b) => a[0]! - b[0]! || a[1]! - b[1]!,
	);

describe("k-means", () => {
	test.each([1, 2, 3])("finds clusters that lie apart, seen from the mean, with seed %p", (seed) => {
		const found = kMeans(data, 2, 4, new CounterRng(seed));
		for (const point of POINTS) {
			const distances = [0, 2, 4, 6].map((at) =>
				Math.hypot(found[at]! + 4.25 - point[0]!, found[at + 1]! + 4.25 - point[1]!),
			);
			expect(Math.min(...distances)).toBeLessThan(0.1);
		}
	});

	test("the same seed gives the same centres", () => {
		const run = () => kMeans(data, 2, 30, new CounterRng(5));
		expect(run()).toEqual(run());
	});

	test("as many centres as rows are the rows, and more are refused", () => {
		const rows = data.subarray(0, 12);
		const mean = [0, 1].map((column) =>
			[0, 1, 2, 3, 4, 5].reduce((sum, row) => sum + rows[2 * row + column]! / 6, 0),
		);
		const centred = rows.map((value, i) => value - mean[i % 2]!);
		const found = sorted(kMeans(rows, 2, 6, new CounterRng(0)));
		for (const [i, row] of sorted(centred).entries()) {
			for (const column of [0, 1]) expect(found[i]![column]!).toBeCloseTo(row[column]!, 5);
		}
		expect(() => kMeans(rows, 2, 7, new CounterRng(0))).toThrow("the sample has 6");
	});

	test("rows that are all the same leave centres without rows where they are", () => {
		expect(kMeans(new Float32Array(20).fill(3), 2, 4, new CounterRng(0))).toEqual(new Float32Array(8));
	});
});

test("an archetypal decoder begins as its candidates, in turns", () => {
	const { spec, sizes } = FAMILIES.archetypal!;
	const rows = Float32Array.from({ length: 20 * sizes.d_in }, (_, i) => rng.normal(i));
	const values = initialise(spec, sizes, { inputs: rows, targets: rows }, 3);
	const { candidates, W_dec } = values as Record<string, Float32Array>;
	const scale = Math.exp(0.2);
	for (const [i, value] of W_dec!.entries()) {
		expect(value).toBeCloseTo(scale * candidates![i % candidates!.length]!, 5);
	}
});
