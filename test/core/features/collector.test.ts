import { describe, expect, test } from "bun:test";
import { latentsBatch, latentsSchema } from "../../../core/arrow/codes.ts";
import { collectFeatures } from "../../../core/features/collect.ts";
import { type Collected, Collector, type CollectorOptions } from "../../../core/features/collector.ts";
import { checkMemory, collectorBytes } from "../../../core/features/memory.ts";
import { LatentRecords } from "../../../core/features/records.ts";
import type { Codes } from "../../../core/sae.ts";
import { activations, contextOf, cut, type MadeUp, madeUp, sorted, topOf } from "./reference.ts";

const D_SAE = 40;
const ROWS = 40_000;
const OPTIONS: CollectorOptions = {
	d_sae: D_SAE,
	examples: 6,
	samples: 8,
	before: 5,
	after: 3,
	tokens: true,
	sketch: 0,
	seed: 3,
};

function collect(batches: readonly MadeUp[], options: Partial<CollectorOptions> = {}): Collected {
	const collector = new Collector({ ...OPTIONS, ...options });
	for (const { codes, facts } of batches) collector.add(codes, facts);
	return collector.finish();
}

const latents = [...Array(D_SAE).keys()];

function everything({ records, top, samples, rows }: Collected) {
	return latents.map((latent) => ({
		rows,
		...records.summary(latent),
		histogram: records.histogram(latent),
		top: top.of(latent),
		samples: samples.of(latent),
	}));
}

describe.each([false, true])("signed %p", (signed) => {
	const data = madeUp(ROWS, D_SAE, signed);
	const active = activations(data.codes, D_SAE);
	const collected = collect([data]);

	test("statistics are those of all activations", () => {
		for (const latent of latents) {
			const values = active[latent]!.map(({ value }) => value);
			const { count, mean, min, max } = collected.records.summary(latent);
			expect(count).toBe(values.length);
			if (count === 0) {
				expect([mean, min, max]).toEqual([0, 0, 0]);
				continue;
			}
			expect(mean).toBe(values.reduce((sum, value) => sum + value, 0) / count);
			expect(min).toBe(Math.min(...values));
			expect(max).toBe(Math.max(...values));
		}
		expect(collected.rows).toBe(ROWS);
		expect(active[0]).toEqual([]);
	});

	test("histograms count every activation in its bin, and their bins are no wider than they must be", () => {
		for (const latent of latents) {
			const { start, width, counts } = collected.records.histogram(latent);
			const values = active[latent]!.map(({ value }) => value);
			if (values.length === 0) {
				expect(counts).toHaveLength(0);
				continue;
			}
			const wanted = new Uint32Array(counts.length);
			for (const value of values) wanted[Math.floor((value - start) / width)]!++;
			expect(counts).toEqual(wanted);
			expect(counts.reduce((sum, count) => sum + count, 0)).toBe(values.length);
			const negative = values.some((value) => value < 0);
			expect(start).toBe(negative ? -32 * width : 0);
			const room = negative ? 32 : 64;
			const [least, most] = [Math.min(...values), Math.max(...values)];
			expect(Math.log2(width) % 1).toBe(0);
			expect(most < room * width && (!negative || least >= -room * width)).toBe(true);
			expect(most >= (room * width) / 2 || least < (-room * width) / 2).toBe(true);
		}
	});

	test("top examples are the best of each window; equal ones the earliest", () => {
		for (const latent of latents) {
			const wanted = topOf(active[latent]!, data.facts, 9, OPTIONS.examples);
			expect(collected.top.of(latent).map(({ row, value }) => ({ row, value }))).toEqual(wanted);
		}
	});

	test("samples are rows of the latent, each once; of few, all", () => {
		for (const latent of latents) {
			const found = collected.samples.of(latent);
			const values = new Map(active[latent]!.map(({ row, value }) => [row, value]));
			expect(new Set(found.map(({ row }) => row)).size).toBe(Math.min(OPTIONS.samples, values.size));
			for (const { row, value } of found) expect(values.get(row)!).toBe(value);
			expect(found).toEqual([...found].sort((a, b) => b.value - a.value || a.row - b.row));
		}
	});

	test("contexts are the rows around, of the same document", () => {
		for (const latent of latents) {
			const values = new Map(active[latent]!.map(({ row, value }) => [row, value]));
			for (const example of [...collected.top.of(latent), ...collected.samples.of(latent)]) {
				const { row, at } = example;
				const rows = contextOf(row, data.facts, OPTIONS.before, OPTIONS.after);
				expect(rows[at]).toBe(row);
				expect(Array.from(example.tokens)).toEqual(rows.map((other) => other * 7));
				expect(Array.from(example.values)).toEqual(rows.map((other) => values.get(other) ?? 0));
				expect(example.document).toBe(data.facts.documents[row]!);
				expect(example.position).toBe(data.facts.positions[row]!);
			}
		}
	});

	test("batches do not matter", () => {
		const whole = everything(collected);
		const cuts = [Array.from({ length: 50 }, (_, i) => 790 * i), [1, 2, 3, 3, 16_383, 16_400, 39_999]];
		for (const at of cuts) expect(everything(collect(cut(data, at)))).toEqual(whole);
	});
});

test("a latent's examples are all of its activations where these are few", () => {
	const data = madeUp(300, D_SAE, false, 5);
	const active = activations(data.codes, D_SAE);
	const collected = collect([data], { samples: 1000, before: 0, after: 0, examples: 1000 });
	for (const latent of latents) {
		for (const kept of [collected.top, collected.samples]) {
			const found = kept.of(latent).map(({ row, value }) => ({ row, value }));
			expect(found).toEqual(sorted(active[latent]!));
		}
	}
});

test("of equal activations in one window the first is the example", () => {
	const data = madeUp(600, D_SAE, false, 8);
	const coarse = {
		...data,
		codes: { ...data.codes, value: data.codes.value.map((value) => Math.ceil(value / 20)) },
	};
	const active = activations(coarse.codes, D_SAE);
	const { top } = collect([coarse], { examples: 1000 });
	for (const latent of latents) {
		const found = top.of(latent).map(({ row, value }) => ({ row, value }));
		expect(found).toEqual(topOf(active[latent]!, data.facts, 9, 1000));
	}
});

test("contexts at the seams of blocks are whole", () => {
	const data = madeUp(ROWS, D_SAE, false, 7);
	// Latent 41 is active around where the collector looks at rows so far, as far apart as documents are long.
	const near = (row: number) => [16_384, 32_768].some((seam) => Math.abs(row - seam) < 60);
	const { offsets, index, value } = data.codes;
	const rows = [...Array(ROWS).keys()].map((row) => {
		const own = Array.from(index.subarray(offsets[row], offsets[row + 1]));
		const values = Array.from(value.subarray(offsets[row], offsets[row + 1]));
		return near(row) ? { own: [...own, 41], values: [...values, row / 8] } : { own, values };
	});
	const codes: Codes = {
		rows: ROWS,
		offsets: new Uint32Array(ROWS + 1),
		index: Uint32Array.from(rows.flatMap(({ own }) => own)),
		value: Float32Array.from(rows.flatMap(({ values }) => values)),
	};
	for (const [row, { own }] of rows.entries()) codes.offsets[row + 1] = codes.offsets[row]! + own.length;
	const { samples } = collect([{ codes, facts: data.facts }], { d_sae: 42, samples: 1000 });
	const found = samples.of(41);
	expect(found).toHaveLength(2 * 119);
	for (const { row, values, tokens } of found) {
		const context = contextOf(row, data.facts, OPTIONS.before, OPTIONS.after);
		expect(Array.from(tokens)).toEqual(context.map((other) => other * 7));
		expect(Array.from(values)).toEqual(context.map((other) => (near(other) ? other / 8 : 0)));
	}
});

test("histograms that widen later are those of all values at once", () => {
	const parts = [[0.01, 0.02], [3], [-0.5, 0.001], [100, -7], [-900], [2 ** -140]];
	const positive = parts.map((part) => part.map(Math.abs));
	for (const given of [parts, positive, [...parts].reverse(), [...positive].reverse()]) {
		const [grown, whole] = [new LatentRecords(2), new LatentRecords(2)];
		for (const part of given) grown.add(1, Float32Array.from(part), 0, part.length);
		const all = Float32Array.from(given.flat());
		whole.add(1, all, 0, all.length);
		const { start, width, counts } = grown.histogram(1);
		expect({ start, width, counts }).toEqual(whole.histogram(1));
		const wanted = new Uint32Array(counts.length);
		for (const value of all) wanted[Math.floor(value / width) - start / width]!++;
		expect(counts).toEqual(wanted);
		expect(width).toBe(given.flat().some((value) => value < 0) ? 32 : 16);
	}
});

test("samples are uniform: early and late rows, large and small values alike", () => {
	const rows = 2000;
	const d_sae = 400;
	// Every latent on every row: 25 of 2000 rows each.
	const codes: Codes = {
		rows,
		offsets: Uint32Array.from({ length: rows + 1 }, (_, row) => row * d_sae),
		index: Uint32Array.from({ length: rows * d_sae }, (_, i) => i % d_sae),
		value: Float32Array.from({ length: rows * d_sae }, (_, i) => 1 + Math.floor(i / d_sae)),
	};
	const drawn = (seed: number) => {
		const collector = new Collector({ ...OPTIONS, d_sae, samples: 25, examples: 0, tokens: false, seed });
		collector.add(codes, { alone: true });
		const { samples } = collector.finish();
		return Array.from({ length: d_sae }, (_, latent) => samples.of(latent).map(({ row }) => row));
	};
	const found = drawn(0);
	// 10,000 draws in 20 parts of 100 rows: χ² with 19 degrees of freedom is above 43.8 once in a thousand.
	const parts = new Float64Array(20);
	for (const row of found.flat()) parts[Math.floor(row / 100)]!++;
	const chi = parts.reduce((sum, count) => sum + (count - 500) ** 2 / 500, 0);
	expect(chi).toBeLessThan(43.8);
	// Two latents draw independently: 25 · 25 / 2000 rows in common on average.
	let shared = 0;
	for (let latent = 1; latent < d_sae; latent++) {
		const before = new Set(found[latent - 1]);
		shared += found[latent]!.filter((row) => before.has(row)).length;
	}
	expect(Math.abs(shared / (d_sae - 1) - 0.3125)).toBeLessThan(0.12);
	expect(drawn(0)).toEqual(found);
	expect(drawn(1)).not.toEqual(found);
});

test("co-occurrence is the same however it is known, and counts rows once across blocks", () => {
	const data = madeUp(ROWS, D_SAE, false, 6);
	const active = activations(data.codes, D_SAE).map((own) => new Set(own.map(({ row }) => row)));
	const counted = collect([data], { sketch: 16 }).cooccurrence!;
	// Too many latents to count pairs of, but more rows in a sketch than a latent has.
	const sketched = collect([data], { sketch: ROWS, d_sae: 4200, examples: 0, samples: 0 }).cooccurrence!;
	for (const latent of [0, 1, 2, 17, 39]) {
		const found = counted.of(latent, 3);
		const alike = sketched.of(latent, 3);
		expect(alike.map(({ latent, jaccard }) => [latent, jaccard])).toEqual(
			found.map(({ latent, jaccard }) => [latent, jaccard]),
		);
		for (const [i, { latent: other, jaccard, phi }] of found.entries()) {
			expect(alike[i]!.phi).toBeCloseTo(phi, 10);
			const both = [...active[latent]!].filter((row) => active[other]!.has(row)).length;
			expect(jaccard).toBe(both / (active[latent]!.size + active[other]!.size - both));
		}
		expect(found).toHaveLength(latent === 0 ? 0 : 3);
	}
});

test("codes of 0 are none", () => {
	const codes: Codes = {
		rows: 3,
		offsets: Uint32Array.of(0, 2, 3, 3),
		index: Uint32Array.of(2, 5, 5),
		value: Float32Array.of(0, 1.5, -0),
	};
	const collector = new Collector(OPTIONS);
	collector.add(codes, { tokens: Uint32Array.of(1, 2, 3), alone: false });
	const { records, top } = collector.finish();
	expect(Array.from(records.counts.entries()).filter(([, count]) => count > 0)).toEqual([[5, 1]]);
	expect(top.of(5)).toHaveLength(1);
	expect(top.of(5)[0]!.values).toEqual(Float32Array.of(1.5, 0, 0));
	expect(top.of(5)[0]!.document).toBeNull();
});

test("rows that are texts stand alone", () => {
	const codes: Codes = {
		rows: 2,
		offsets: Uint32Array.of(0, 1, 2),
		index: Uint32Array.of(4, 4),
		value: Float32Array.of(1, 2),
	};
	const collector = new Collector({ ...OPTIONS, before: 0, after: 0, tokens: false });
	collector.add(codes, { texts: ["one", "two"], alone: true });
	const found = collector.finish().top.of(4);
	expect(found.map(({ text, values }) => [text, ...values])).toEqual([
		["two", 2],
		["one", 1],
	]);
});

test.each([
	["of another SAE", [40], "row 1 names latent 40, this SAE has 40"],
	["not in order", [3, 2], "row 1 does not name its latents in ascending order"],
	["named twice", [3, 3], "row 1 does not name its latents in ascending order"],
])("latents %s are refused", (_, index, message) => {
	const codes: Codes = {
		rows: 2,
		offsets: Uint32Array.of(0, 0, index.length),
		index: Uint32Array.from(index),
		value: Float32Array.from(index, () => 1),
	};
	const collector = new Collector(OPTIONS);
	expect(() => collector.add(codes, { alone: true })).toThrow(message);
});

test("quantiles are shares of all activations, off by less than a bin", () => {
	const data = madeUp(ROWS, D_SAE, true, 9);
	const active = activations(data.codes, D_SAE);
	const { records } = collect([data]);
	for (const latent of latents.slice(1)) {
		const values = active[latent]!.map(({ value }) => value);
		const { width, counts, start } = records.histogram(latent);
		expect(records.quantile(latent, Math.max(...values))).toBe(1);
		let last = 0;
		for (const value of [...values].sort((a, b) => a - b).filter((_, i) => i % 97 === 0)) {
			const exact = values.filter((other) => other <= value).length / values.length;
			const share = counts[Math.floor((value - start) / width)]! / values.length;
			const quantile = records.quantile(latent, value);
			expect(Math.abs(quantile - exact)).toBeLessThanOrEqual(share + 1e-12);
			expect(quantile).toBeGreaterThanOrEqual(last);
			last = quantile;
		}
	}
});

test("what would take too much memory is refused with what would help", () => {
	expect(collectorBytes({ ...OPTIONS, d_sae: 32_768, examples: 20, samples: 25, before: 24, after: 7 })).toBe(
		32_768 * (309 - 20 + 20 + 45 * (24 + 32 * 8)),
	);
	expect(() => checkMemory({ ...OPTIONS, d_sae: 1 << 20, examples: 100 }, 4e9)).toThrow(
		"more than the 4.0 GB of --memory: lower --examples (100)",
	);
	checkMemory(OPTIONS, 4e9);
});

test.each([
	[1, [1, 1]],
	[3, [3, 1]],
	[4, [4, 2]],
	[100, [9, 3]],
])(
	"a limit of %d rows ends the pass without asking for a batch that nobody looks at",
	async (limit, expected) => {
		let asked = 0;
		const schema = latentsSchema();
		const codes = {
			offsets: Uint32Array.of(0, 1, 2, 3),
			index: Uint32Array.of(1, 2, 3),
			value: Float32Array.of(1, 1, 1),
		};
		const batches = (async function* () {
			for (; asked < 3; ) {
				asked++;
				yield latentsBatch(schema, { rows: 3, ...codes });
			}
		})();
		const options = { d_sae: 4, examples: 1, samples: 1, before: 0, after: 0, sketch: 0, seed: 0 };
		const { rows } = await collectFeatures({ schema, batches }, options, { limit });
		expect([rows, asked]).toEqual(expected);
	},
);
