import { describe, expect, test } from "bun:test";
import { core } from "../../../core/api.ts";
import { fixedSizes, parsePrefixes, randomSizes } from "../../../plugins/matryoshka/prefixes.ts";

describe("listed prefixes", () => {
	test.each<[string, number, number[]]>([
		["1/16,1/8,1/4,1/2", 64, [4, 8, 16, 32, 64]],
		["2048, 6144,14336,30720,65536", 65536, [2048, 6144, 14336, 30720, 65536]],
		["10,.25,1/2,1/1", 100, [10, 25, 50, 100]],
		["1/3", 100, [33, 100]],
	])("%s of %d", (text, d_sae, sizes) => {
		expect(fixedSizes(core, parsePrefixes(text)!, d_sae)).toEqual(sizes);
	});

	test.each(["", "a", "1/2,", "1/", "-3", "1e3", "half"])("%p is no list", (text) => {
		expect(parsePrefixes(text)).toBeUndefined();
	});

	test.each([
		["1/2,1/4", 64],
		["4,4", 64],
		["65", 64],
		["3/2", 64],
		["0,8", 64],
		["1/0", 64],
		["1/16,1/8", 4],
	])("%s of %d latents is refused", (text, d_sae) => {
		expect(() => fixedSizes(core, parsePrefixes(text)!, d_sae)).toThrow(
			"--prefixes: must rise from 1 to d_sae",
		);
	});
});

describe("random prefixes", () => {
	test("rise to d_sae, without repeats, and follow from the update", () => {
		for (const [count, d_sae] of [
			[10, 64],
			[14, 4096],
			[1, 5],
			[5, 5],
		] as const) {
			for (let update = 0; update < 50; update++) {
				const sizes = randomSizes(core, count, d_sae, update);
				expect(sizes).toHaveLength(count);
				expect(sizes.at(-1)).toBe(d_sae);
				expect(sizes[0]).toBeGreaterThan(0);
				for (const [i, size] of sizes.entries()) if (i > 0) expect(size).toBeGreaterThan(sizes[i - 1]!);
				expect(randomSizes(core, count, d_sae, update)).toEqual(sizes);
			}
		}
		expect(randomSizes(core, 10, 4096, 1)).not.toEqual(randomSizes(core, 10, 4096, 2));
	});

	test("are short as often as the law says", () => {
		// One prefix besides d_sae: P(ℓ ≤ n) = √(n / 1000).
		const drawn = Array.from({ length: 20_000 }, (_, update) => randomSizes(core, 2, 1001, update)[0]!);
		for (const n of [1, 10, 90, 250, 640]) {
			const share = drawn.filter((size) => size <= n).length / drawn.length;
			// Five standard deviations.
			expect(Math.abs(share - Math.sqrt(n / 1000))).toBeLessThan(5 * Math.sqrt(0.25 / drawn.length));
		}
	});
});
