/** The parts of charts and pages. */
import { describe, expect, test } from "bun:test";
import { logAxis, logTicks } from "../../cli/reports/axis.ts";
import { spread } from "../../cli/reports/chart.ts";
import { html } from "../../cli/reports/html.ts";
import { paretoFront } from "../../core/analysis/pareto.ts";

describe("a logarithmic axis", () => {
	test("puts equal ratios at equal distances, with room at its ends", () => {
		const { at } = logAxis([1, 100], 10);
		expect(at(10)).toBeCloseTo(0.5, 12);
		expect(at(100) - at(10)).toBeCloseTo(at(10) - at(1), 12);
		expect(at(1)).toBeGreaterThan(0.02);
		expect(at(100)).toBeLessThan(0.98);
	});

	test("of a single value has it in its middle", () => {
		expect(logAxis([7, 7], 10).at(7)).toBeCloseTo(0.5, 12);
		expect(logAxis([7], 10).ticks).toContain(7);
	});

	// biome-ignore format: one case a line
	test.each([
		[1, 1e9, 10, [1, 10, 100, 1000, 1e4, 1e5, 1e6, 1e7, 1e8, 1e9]],
		[8, 130, 10, [10, 15, 20, 30, 50, 70, 100]],
		[0.18, 0.26, 10, [0.18, 0.19, 0.2, 0.21, 0.22, 0.23, 0.24, 0.25, 0.26]],
		[0.2301, 0.2304, 10, [0.2301, 0.23015, 0.2302, 0.23025, 0.2303, 0.23035, 0.2304]],
		[32, 32.5, 6, [32, 32.1, 32.2, 32.3, 32.4, 32.5]],
	])("names round values from %d to %d", (low, high, most, expected) => {
		expect(logTicks(low, high, most)).toEqual(expected);
	});

	test("never names more values than it has room for, nor fewer than three", () => {
		for (let low = 0.001; low < 1000; low *= 1.7)
			for (let ratio = 1.01; ratio < 1e5; ratio *= 1.9) {
				const ticks = logTicks(low, low * ratio, 8);
				expect(ticks.length, `${low} to ${low * ratio}`).toBeWithin(3, 9);
				expect(ticks.every((tick) => tick >= low && tick <= low * ratio)).toBe(true);
			}
	});
});

test("names at the edge keep their distance and stay above the bottom", () => {
	expect(spread([10, 50, 52, 53], 14, 200)).toEqual([10, 50, 64, 78]);
	expect(spread([10, 95, 97, 99], 14, 100)).toEqual([10, 72, 86, 100]);
	expect(spread([], 14, 100)).toEqual([]);
});

describe("a Pareto front", () => {
	const front = (points: [number, number][]) =>
		paretoFront(
			points,
			([x]) => x,
			([, y]) => y,
		);

	test("has what nothing beats in both, from the left to the right", () => {
		expect(
			front([
				[4, 1],
				[2, 3],
				[3, 4],
				[1, 5],
				[5, 1],
				[2, 6],
			]),
		).toEqual([
			[1, 5],
			[2, 3],
			[4, 1],
		]);
	});

	test("has one of those that are equal", () => {
		const first: [number, number] = [1, 1];
		expect(front([first, [1, 1]])[0]).toBe(first);
		expect(front([first, [1, 1]]).length).toBe(1);
		expect(front([])).toEqual([]);
	});
});

test("markup escapes its values, and keeps markup", () => {
	const inner = html`<i>${"<&>\"'"}</i>`;
	expect(html`<b title="${'"'}">${[inner, 1]}${undefined}</b>`.text).toBe(
		'<b title="&quot;"><i>&lt;&amp;&gt;&quot;&#x27;</i>1</b>',
	);
});
