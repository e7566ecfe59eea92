import { afterAll, describe, expect, test } from "bun:test";
import { mkdtemp, rm } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { openSafetensors, readFloat32 } from "../../core/files/safetensors.ts";
import { openSource, rowsFrom } from "./sources.ts";

const folder = await mkdtemp(join(tmpdir(), "sae-synthetic-"));
afterAll(() => rm(folder, { recursive: true }));

/** Rows, and their codes under the true features: exact when these are orthogonal, as few in many dimensions nearly are. */
async function generate(options: Record<string, unknown>) {
	const truth = join(folder, "truth.safetensors");
	const rows = await rowsFrom(await openSource("synthetic", { ...options, truth }));
	const file = await openSafetensors(truth);
	const [features, d_in] = file.tensors.get("features")!.shape as [number, number];
	const values = await readFloat32(file, "features");
	await file.close();
	const D = Array.from({ length: features }, (_, i) => values.subarray(i * d_in, (i + 1) * d_in));
	const codes = rows.map((h) => D.map((d) => d.reduce((sum, value, j) => sum + value * h[j]!, 0)));
	return { rows, D, codes, metadata: file.metadata };
}

/** In 4096 dimensions, 8 random unit vectors have inner products of about 0.016. */
const wide = { d_in: 4096, features: 8, magnitude: "0.5:1.5" };
const on = (code: number) => code > 0.25;

describe("the source synthetic", () => {
	test("rows are sums of exactly so many features, which the truth file holds", async () => {
		const { D, codes, metadata } = await generate({ ...wide, active: 3, rows: 300 });
		for (const d of D) expect(d.reduce((sum, value) => sum + value ** 2, 0)).toBeCloseTo(1, 5);
		const values = codes.flatMap((code) => code.filter(on));
		for (const code of codes) expect(code.filter(on).length).toBe(3);
		for (const value of values) expect(value).toBeWithin(0.3, 1.7);
		const mean = values.reduce((sum, value) => sum + value, 0) / values.length;
		expect(mean).toBeWithin(0.93, 1.07);
		for (let i = 0; i < 8; i++) expect(codes.filter((code) => on(code[i]!)).length).toBeWithin(70, 155);
		expect(JSON.parse(metadata["sae.generator"]!).support).toEqual({ count: 3, correlation: 0 });
	});

	test.each([0, 0.6])("each feature has its probability (correlation %d)", async (correlation) => {
		const { codes } = await generate({ ...wide, probability: 0.3, correlation, rows: 600 });
		// Binomial(600, 0.3): five standard deviations are 56.
		for (let i = 0; i < 8; i++) expect(codes.filter((code) => on(code[i]!)).length).toBeWithin(124, 237);
	});

	test("correlation makes features come together or apart", async () => {
		const spread = async (correlation: number) => {
			const { codes } = await generate({ ...wide, probability: 0.5, correlation, rows: 600 });
			let total = 0;
			for (let i = 0; i < 8; i++) {
				for (let j = 0; j < i; j++) {
					const both = codes.filter((code) => on(code[i]!) === on(code[j]!)).length / 600;
					total += (both - 0.5) ** 2;
				}
			}
			return total / 28;
		};
		// Independent pairs agree with variance 1/2400 = 0.0004.
		expect(await spread(0)).toBeLessThan(0.001);
		expect(await spread(0.9)).toBeGreaterThan(0.003);
	});

	test("exactly so many stay active under correlation", async () => {
		const { codes } = await generate({ ...wide, active: 3, correlation: 0.5, rows: 100 });
		for (const code of codes) expect(code.filter(on).length).toBe(3);
	});

	test("noise has its standard deviation", async () => {
		const clean = (await generate({ d_in: 64, rows: 200 })).rows.flat();
		const noisy = (await generate({ d_in: 64, rows: 200, noise: 0.1 })).rows.flat();
		const variance = clean.reduce((sum, value, i) => sum + (noisy[i]! - value) ** 2, 0) / clean.length;
		expect(Math.sqrt(variance)).toBeWithin(0.097, 0.103);
	});

	test.each([{}, { probability: 0.02 }, { correlation: 0.5 }, { noise: 0.1 }])(
		"a row depends on nothing but seed and number: %o",
		async (options) => {
			const all = { d_in: 8, features: 32, rows: 50, ...options };
			const whole = await rowsFrom(await openSource("synthetic", { ...all, batch_rows: 7 }));
			const source = await openSource("synthetic", all);
			for (const start of [0, 1, 20, 49, 50])
				expect(await rowsFrom(source, start)).toEqual(whole.slice(start));
			expect(await rowsFrom(await openSource("synthetic", { ...all, seed: 1 }))).not.toEqual(whole);
		},
	);

	test.each([
		[{ active: 2, probability: 0.5 }, "not both"],
		[{ active: 300 }, "--active can't be more than --features"],
		[{ magnitude: "2:1" }, "LO ≤ HI"],
	])("%o is refused", async (options, message) => {
		await expect(openSource("synthetic", options)).rejects.toThrow(message);
	});
});
