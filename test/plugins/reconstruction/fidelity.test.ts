import { describe, expect, test } from "bun:test";
import { Fidelity } from "../../../plugins/reconstruction/fidelity.ts";
import { randomStream, randomTensor } from "../../reference/models.ts";

function measure(x: number[][], y: number[][]): ReturnType<Fidelity["finish"]> {
	const fidelity = new Fidelity(x[0]!.length);
	fidelity.add(Float32Array.from(x.flat()), Float32Array.from(y.flat()));
	return fidelity.finish();
}

function measureInBatches(x: Float32Array, y: Float32Array, width: number, sizes: number[]) {
	const fidelity = new Fidelity(width);
	let row = 0;
	for (const size of sizes) {
		const [from, to] = [row * width, (row + size) * width];
		fidelity.add(x.subarray(from, to), y.subarray(from, to));
		row += size;
	}
	return fidelity.finish();
}

describe("Fidelity on values worked out by hand", () => {
	test("x = [[2,0],[0,4]], x̂ = [[2,1],[0,3]]: mean [1,2], variance 5, error 1", () => {
		const figures = measure(
			[
				[2, 0],
				[0, 4],
			],
			[
				[2, 1],
				[0, 3],
			],
		);
		expect(figures.rows).toBe(2);
		expect(figures.mse).toBe(1);
		expect(figures.mse_per_dim).toBe(0.5);
		expect(figures.fvu).toBeCloseTo(0.2, 12);
		expect(figures.explained_variance).toBeCloseTo(0.8, 12);
		expect(figures.explained_variance_legacy).toBeCloseTo(0.8, 12);
		// e = [[0,−1],[0,1]] has mean 0, so nothing of it is bias.
		expect(figures.ev_bias_free).toBeCloseTo(0.8, 12);
		expect(figures.nmse).toBeCloseTo((1 / 4 + 1 / 16) / 2, 12);
		expect(figures.cosine).toBeCloseTo((4 / (2 * Math.sqrt(5)) + 1) / 2, 12);
		expect(figures.l2_norm_in).toBeCloseTo(3, 12);
		expect(figures.l2_norm_out).toBeCloseTo((Math.sqrt(5) + 3) / 2, 12);
		expect(figures.l2_ratio).toBeCloseTo((Math.sqrt(5) / 2 + 3 / 4) / 2, 12);
		expect(figures.relative_reconstruction_bias).toBeCloseTo((5 + 9) / (4 + 12), 12);
	});

	test("tells the two explained variances apart", () => {
		const figures = measure([[1], [-1], [3], [-3]], [[0], [0], [3], [-3]]);
		expect(figures.explained_variance).toBeCloseTo(0.9, 12);
		expect(figures.explained_variance_legacy).toBeCloseTo(0.5, 12);
	});

	test("a constant error costs nothing in ev_bias_free alone", () => {
		const figures = measure([[1], [-1], [3], [-3]], [[2], [0], [4], [-2]]);
		expect(figures.ev_bias_free).toBeCloseTo(1, 12);
		expect(figures.explained_variance).toBeCloseTo(1 - 1 / 5, 12);
	});

	test("what can't be defined is null", () => {
		const constant = measure([[2], [2]], [[1], [2]]);
		expect([constant.fvu, constant.explained_variance, constant.explained_variance_legacy]).toEqual([
			null,
			null,
			null,
		]);
		const nothing = new Fidelity(3).finish();
		expect(nothing).toMatchObject({
			rows: 0,
			mse: null,
			fvu: null,
			cosine: null,
			relative_reconstruction_bias: null,
		});
	});

	test("rows of zeros don't enter the ratios of norms", () => {
		const figures = measure([[0], [2]], [[1], [1]]);
		expect(figures.nmse).toBe(0.25);
		expect(figures.l2_ratio).toBe(0.5);
		expect(figures.cosine).toBe(1);
		expect(figures.mse).toBe(1);
	});
});

describe("Fidelity's definition of variance", () => {
	const [rows, width] = [997, 13];
	const random = randomStream(3);
	const x = randomTensor([rows, width], random, 2).data;
	const y = x.map((value) => value + random() - 0.5);

	test("predicting the mean explains nothing, though the mean is large; copying explains all", () => {
		const far = x.map((value) => value + 100);
		const mean = Float32Array.from({ length: width }, (_, i) => {
			let sum = 0;
			for (let row = 0; row < rows; row++) sum += far[row * width + i]!;
			return sum / rows;
		});
		const predicted = Float32Array.from({ length: rows * width }, (_, i) => mean[i % width]!);
		// The mean is a float32 here, so it is a little off.
		expect(Math.abs(measureInBatches(far, predicted, width, [rows]).explained_variance!)).toBeLessThan(1e-9);
		expect(measureInBatches(far, far, width, [rows]).explained_variance).toBe(1);
	});

	test("does not change when input and reconstruction move together", () => {
		// Shifts by a power of two of values that are multiples of 2⁻⁸ are exact in float32.
		const grid = (values: Float32Array) => values.map((value) => Math.round(value * 256) / 256);
		const [near, nearY] = [grid(x), grid(y)];
		const here = measureInBatches(near, nearY, width, [rows]);
		const there = measureInBatches(
			near.map((value) => value + 8192),
			nearY.map((value) => value + 8192),
			width,
			[rows],
		);
		expect(there.explained_variance).toBeCloseTo(here.explained_variance!, 9);
		expect(there.explained_variance_legacy).toBeCloseTo(here.explained_variance_legacy!, 9);
		expect(there.ev_bias_free).toBeCloseTo(here.ev_bias_free!, 9);
		expect(there.nmse).not.toBeCloseTo(here.nmse!, 3);
	});

	test("does not change with the batches", () => {
		const whole = measureInBatches(x, y, width, [rows]);
		expect(measureInBatches(x, y, width, [1, 500, 496])).toEqual(whole);
		expect(measureInBatches(x, y, width, [100, 200, 3, 97, 1, 96, 500])).toEqual(whole);
	});

	test("does not change with the batches across the windows of the legacy figure", () => {
		const many = randomTensor([9001, 2], randomStream(4)).data;
		const near = many.map((value) => value * 0.9);
		const whole = measureInBatches(many, near, 2, [9001]);
		expect(measureInBatches(many, near, 2, [4095, 2, 4904])).toEqual(whole);
		expect(whole.explained_variance_legacy).not.toBe(whole.explained_variance);
	});
});
