import { describe, expect, test } from "bun:test";
import { CounterRng } from "../../core/random.ts";
import { permutation } from "../../core/shuffle.ts";

const SEED = 5 * 2 ** 32 + 12345;

describe("CounterRng", () => {
	test("is Threefry-2x32-20", () => {
		// The first is the published known answer for key 0, counter 0; the others come from a Python transcription
		// that reproduces all three published answers.
		expect(new CounterRng(0).u32(0)).toBe(0x6b200159);
		const rng = new CounterRng(SEED);
		expect([0, 1, 7 * 2 ** 32 + 99].map((i) => rng.u32(i))).toEqual([0x2e75e4ed, 0x3681b3e5, 0xb3174eba]);
		expect(rng.uniform(7 * 2 ** 32 + 99)).toBe(0.6995743948912683);
		expect(rng.derive(3).u32(0)).toBe(0x83abe296);
	});

	test("a value depends on nothing but seed and index", () => {
		const rng = new CounterRng(7);
		const forward = Array.from({ length: 100 }, (_, i) => rng.normal(i));
		const backward = Array.from({ length: 100 }, (_, i) => rng.normal(99 - i)).reverse();
		expect(backward).toEqual(forward);
	});

	test("uniform and normal have their moments", () => {
		const rng = new CounterRng(1);
		const n = 100_000;
		const u = Array.from({ length: n }, (_, i) => rng.uniform(i));
		const z = Array.from({ length: n }, (_, i) => rng.normal(i));
		const mean = (values: number[]) => values.reduce((sum, value) => sum + value, 0) / n;
		// Five standard errors.
		expect(Math.abs(mean(u) - 0.5)).toBeLessThan(5 * Math.sqrt(1 / 12 / n));
		expect(Math.abs(mean(z))).toBeLessThan(5 / Math.sqrt(n));
		expect(Math.abs(mean(z.map((value) => value ** 2)) - 1)).toBeLessThan(5 * Math.sqrt(2 / n));
		expect(Math.abs(mean(z.map((value) => value ** 4)) - 3)).toBeLessThan(5 * Math.sqrt(96 / n));
	});
});

describe("permutation", () => {
	test("holds every row once, and differs between families", () => {
		const root = new CounterRng(3);
		const first = permutation(root.derive(0), 1000);
		expect([...first].toSorted((a, b) => a - b)).toEqual(Array.from({ length: 1000 }, (_, i) => i));
		expect(permutation(root.derive(0), 1000)).toEqual(first);
		expect(permutation(root.derive(1), 1000)).not.toEqual(first);
	});

	test("every row is as likely in every place", () => {
		const root = new CounterRng(4);
		const counts = new Array<number>(9).fill(0);
		const trials = 9000;
		for (let i = 0; i < trials; i++) {
			permutation(root.derive(i), 3).forEach((row, place) => {
				counts[3 * place + row]!++;
			});
		}
		// Binomial(9000, 1/3): five standard deviations.
		for (const count of counts)
			expect(Math.abs(count - trials / 3)).toBeLessThan(5 * Math.sqrt((trials * 2) / 9));
	});
});
