import { describe, expect, test } from "bun:test";
import type { Codes } from "../../../core/sae.ts";
import { Activity } from "../../../plugins/reconstruction/activity.ts";

/** Codes of rows given as {latent: value}. */
function codes(...rows: Record<number, number>[]): Codes {
	const entries = rows.map((row) =>
		Object.entries(row).map(([latent, value]) => [Number(latent), value] as const),
	);
	const offsets = new Uint32Array(rows.length + 1);
	entries.forEach((row, i) => {
		offsets[i + 1] = offsets[i]! + row.length;
	});
	return {
		rows: rows.length,
		offsets,
		index: Uint32Array.from(entries.flat(), ([latent]) => latent),
		value: Float32Array.from(entries.flat(), ([, value]) => value),
	};
}

describe("Activity", () => {
	test("counts what fires, not what was selected with value 0", () => {
		const activity = new Activity(4);
		activity.add(codes({ 0: 2, 1: 0 }, { 0: 4, 2: -1 }));
		activity.add(codes({}, { 0: 1 }));
		expect(Array.from(activity.fired)).toEqual([3, 0, 1, 0]);
		expect(Array.from(activity.sum)).toEqual([7, 0, -1, 0]);
		expect(Array.from(activity.max)).toEqual([4, 0, 0, 0]);
		const figures = activity.finish();
		expect(figures).toMatchObject({ l0: 1, l0_p5: 0, l0_p50: 1, l0_p95: 2, l1: 2, dead: 0.5 });
		expect(figures.l0_std).toBeCloseTo(Math.sqrt(0.5), 12);
	});

	test("shares of latents by density add up to one with the dead", () => {
		const activity = new Activity(3);
		for (let row = 0; row < 1000; row++) activity.add(codes(row === 0 ? { 0: 1, 1: 1 } : { 1: 1 }));
		expect(activity.shares().frac_alive).toBeCloseTo(2 / 3, 12);
		expect(activity.shares().normalized_freq_over_1_percent).toBeCloseTo(1000 / 1001, 12);
		const figures: Record<string, number | null> = activity.finish();
		expect(figures["density_1e-3"]).toBeCloseTo(1 / 3, 12);
		expect(figures["density_1e-1"]).toBeCloseTo(1 / 3, 12);
		expect(figures.freq_over_1_percent).toBeCloseTo(1 / 3, 12);
		expect(figures.freq_over_10_percent).toBeCloseTo(1 / 3, 12);
		const shares = Object.entries(figures).filter(([name]) => name.startsWith("density_"));
		const total = shares.reduce((sum, [, share]) => sum + share!, figures.dead!);
		expect(total).toBeCloseTo(1, 12);
	});

	test("has no figures without rows", () => {
		expect(new Activity(3).finish()).toMatchObject({
			l0: null,
			l0_std: null,
			l0_p50: null,
			l1: null,
			dead: null,
		});
	});
});
