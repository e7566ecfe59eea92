import { describe, expect, test } from "bun:test";
import { byLatent, fitExponent, ranking, zipfShares } from "../../../plugins/choice/zipf.ts";

const sumOf = (values: Iterable<number>) => Iterator.from(values).reduce((a, b) => a + b, 0);

describe("shares by Zipf's law", () => {
	const cases = [0, 0.5, 1, 2, 4].flatMap((exponent) =>
		[
			[1, 1],
			[7, 7],
			[64, 4],
			[64, 63],
			[1000, 32.5],
			[65536, 128],
		].flatMap(([count, total]) => [0, 2.7].map((shift) => [count!, total!, { exponent, shift }] as const)),
	);

	test.each(cases)("%d latents, %d codes per row, %j", (count, total, law) => {
		const shares = zipfShares(count, total, law);
		expect(shares).toHaveLength(count);
		expect(sumOf(shares)).toBeCloseTo(total, 8);
		for (const [rank, share] of shares.entries()) {
			expect(share).toBeGreaterThanOrEqual(0);
			expect(share).toBeLessThanOrEqual(1 + 1e-12);
			if (rank > 0) expect(share).toBeLessThanOrEqual(shares[rank - 1]! + 1e-12);
		}
	});

	test("go with the law where none is over 1", () => {
		const shares = zipfShares(100, 2, { exponent: 1.5, shift: 3 });
		expect(shares[0]).toBeLessThan(1);
		for (const rank of [0, 1, 10, 99])
			expect(shares[rank]! / shares[0]!).toBeCloseTo((4 / (rank + 4)) ** 1.5, 10);
	});

	test("hand what one latent can't use to those behind it", () => {
		// Of 3 codes, 1/rank would give the first 1.56; the other two go as 1/2 : 1/3 : 1/4 : 1/5, so to 0.78 and so on.
		const shares = zipfShares(5, 3, { exponent: 1, shift: 0 });
		const rest = 1 / 2 + 1 / 3 + 1 / 4 + 1 / 5;
		for (const [i, share] of [1, 1 / rest, 2 / 3 / rest, 1 / 2 / rest, 2 / 5 / rest].entries()) {
			expect(shares[i]).toBeCloseTo(share, 10);
		}
	});

	test("are the same for all with an exponent of 0", () => {
		expect([...zipfShares(8, 2, { exponent: 0, shift: 5 })]).toEqual(new Array(8).fill(0.25));
	});
});

describe("the fitted exponent", () => {
	test.each([0.3, 1, 1.7, 3])("is that of densities that follow the law: %d", (exponent) => {
		const density = zipfShares(500, 0.5, { exponent, shift: 2 });
		expect(fitExponent(density, 2)).toBeCloseTo(exponent, 4);
	});

	test("is 0 for densities that are all the same", () => {
		expect(fitExponent(new Float32Array(100).fill(0.02), 0)).toBeCloseTo(0, 4);
	});

	test("hardly changes with a tail of silent latents", () => {
		const density = Float32Array.from(zipfShares(500, 0.5, { exponent: 1.2, shift: 0 })).fill(0, 450);
		expect(Math.abs(fitExponent(density, 0) - 1.2)).toBeLessThan(0.05);
	});
});

test("latents are ranked by density, equal ones by number, and get the values of their ranks", () => {
	const latents = ranking(Float32Array.of(0.1, 0.5, 0, 0.5, 0.2));
	expect([...latents]).toEqual([1, 3, 4, 0, 2]);
	expect([...byLatent([10, 8, 6, 4, 2], latents)]).toEqual([4, 10, 2, 8, 6]);
});
