/** Finished SAEs on the device against the float64 reference. */
import { afterAll, beforeAll, describe, expect, test } from "bun:test";
import { openGpu } from "../../core/gpu/device.ts";
import { FIRST_ROOM } from "../../core/gpu/select.ts";
import { openRuntime } from "../../core/runtime.ts";
import type { Codes, SaeModel } from "../../core/sae.ts";
import { Gpu } from "../../kernels/gpu.ts";
import { PLAIN_HALF_PRODUCT } from "../kernels/half-product.ts";
import { randomStream, randomTensor, randomTopK, withSkip } from "../reference/models.ts";
import { decode, encodeTopK } from "../reference/topk.ts";

let gpu: Gpu;
beforeAll(async () => {
	gpu = await openGpu();
});
afterAll(() => gpu.close());

const spec = (k: number) => ({ select: { kind: "topk", k } }) as const;

function rowsFor({ d_in }: SaeModel, rows: number): Float32Array {
	return randomTensor([rows, d_in], randomStream(2), 2).data;
}

/** float32 against float64, with sums of up to 144 products of size 1. */
function expectNear(actual: Float32Array, expected: ArrayLike<number>): void {
	expect(actual.length).toBe(expected.length);
	let worst = 0;
	for (const [i, value] of actual.entries()) worst = Math.max(worst, Math.abs(value - expected[i]!));
	expect(worst).toBeLessThan(1e-4);
}

function expectCodes(actual: Codes, expected: Codes): void {
	expect(actual.rows).toBe(expected.rows);
	expect(actual.offsets).toEqual(expected.offsets);
	expect(actual.index).toEqual(expected.index);
	expectNear(actual.value, expected.value);
}

describe("encode and decode", () => {
	test.each([
		{ d_in: 3, d_sae: 5, k: 2, rows: 1, maxRows: 4 },
		{ d_in: 17, d_sae: 130, k: 130, rows: 9, maxRows: 9 },
		{ d_in: 64, d_sae: 300, k: 8, rows: 300, maxRows: 129 },
		{ d_in: 130, d_sae: 130, k: 7, rows: 20, maxRows: 7, centre: false },
	])("%j", async ({ d_in, d_sae, k, rows, maxRows, centre = true }) => {
		const model = { ...randomTopK(d_in, d_sae, k), apply_b_dec_to_input: centre };
		const x = rowsFor(model, rows);
		const runtime = await openRuntime(gpu, model, spec(k), maxRows);
		const codes = await runtime.encode(x, rows);
		expectCodes(codes, encodeTopK(model, x, rows, k));
		expectNear(await runtime.decode(codes), decode(model, codes));
		runtime.close();
	});

	test("float16 rows, an odd number of odd width at a time", async () => {
		const model = randomTopK(17, 130, 4);
		const half = new Float16Array(rowsFor(model, 10));
		const runtime = await openRuntime(gpu, model, spec(4), 3);
		expectCodes(await runtime.encode(new Uint16Array(half.buffer), 10), encodeTopK(model, half, 10, 4));
		runtime.close();
	});

	test("another k than the SAE was trained with, up to all there is", async () => {
		const model = randomTopK(17, 130, 4);
		const x = rowsFor(model, 9);
		for (const k of [1, 20, 500]) {
			const runtime = await openRuntime(gpu, model, spec(k), 9);
			expectCodes(await runtime.encode(x, 9), encodeTopK(model, x, 9, k));
			runtime.close();
		}
	});

	test("several calls at once keep apart", async () => {
		const model = randomTopK(17, 130, 4);
		const x = rowsFor(model, 30);
		const runtime = await openRuntime(gpu, model, spec(4), 9);
		const halves = [x.subarray(0, 15 * 17), x.subarray(15 * 17)];
		const codes = await Promise.all(halves.map((half) => runtime.encode(half, 15)));
		for (const [i, half] of halves.entries()) expectCodes(codes[i]!, encodeTopK(model, half, 15, 4));
		const decoded = await Promise.all(codes.map((part) => runtime.decode(part)));
		for (const [i, part] of codes.entries()) expectNear(decoded[i]!, decode(model, part));
		runtime.close();
	});

	test("several calls at once keep apart where rows have any number of codes, and room for these grows", async () => {
		const model = { ...randomTopK(17, 900, 900), apply_b_dec_to_input: false };
		// Rows with hundreds of codes after rows with none, and the other way round.
		const most = { ...model.tensors, b_enc: { shape: [900], data: new Float32Array(900).fill(-4) } };
		const sparse = { ...model, tensors: most };
		const parts = [1, 9, 1, 9].map((scale) => rowsFor(model, 8).map((value) => value * scale));
		const runtime = await openRuntime(gpu, sparse, { select: { kind: "all" } }, 8);
		const codes = await Promise.all(parts.map((part) => runtime.encode(part, 8)));
		for (const [i, part] of parts.entries()) expectCodes(codes[i]!, encodeTopK(sparse, part, 8, 900));
		expect(codes[1]!.index.length).toBeGreaterThan(8 * FIRST_ROOM);
		runtime.close();
	});

	test.each([
		["k codes", { select: { kind: "topk", k: 4 } }, 4],
		["any number of codes", { select: { kind: "all" } }, 130],
	] as const)("rows may change once they are taken, with %s each", async (_, chosen, k) => {
		const model = randomTopK(17, 130, 4);
		const x = rowsFor(model, 40);
		const runtime = await openRuntime(gpu, model, chosen, 4);
		const calls: Promise<Codes>[] = [];
		// More calls than the device has in flight, some of them in parts.
		for (const [from, to] of [
			[0, 4],
			[4, 13],
			[13, 14],
			[14, 40],
		] as const) {
			const rows = x.slice(from * 17, to * 17);
			const { promise, resolve } = Promise.withResolvers<void>();
			calls.push(runtime.encode(rows, to - from, resolve));
			await promise;
			rows.fill(99);
		}
		const codes = await Promise.all(calls);
		expect(codes.map(({ rows }) => rows)).toEqual([4, 9, 1, 26]);
		let row = 0;
		for (const some of codes) {
			const own = x.subarray(row * 17, (row + some.rows) * 17);
			expectCodes(some, encodeTopK(model, own, some.rows, k));
			row += some.rows;
		}
		runtime.close();
		await expect(runtime.encode(x, 1)).rejects.toThrow("closed while it was in use");
	});

	test("on tensor cores, where W_enc is halved once for all batches", async () => {
		const { device, info } = gpu;
		const halving = new Gpu({ device, info, halfProduct: PLAIN_HALF_PRODUCT, keepAlive: [] });
		const model = randomTopK(17, 130, 4);
		const x = rowsFor(model, 30);
		const runtime = await openRuntime(halving, model, spec(4), 9);
		for (let i = 0; i < 2; i++) expectCodes(await runtime.encode(x, 30), encodeTopK(model, x, 30, 4));
		runtime.close();
	});

	test("an SAE cut into shards, rows in chunks", async () => {
		const model = randomTopK(130, 300, 7);
		const x = rowsFor(model, 140);
		const small = new Gpu({ device: gpu.device, info: gpu.info, keepAlive: [] }, 200_000);
		const runtime = await openRuntime(small, model, spec(7), 140);
		const codes = await runtime.encode(x, 140);
		expectCodes(codes, encodeTopK(model, x, 140, 7));
		expectNear(await runtime.decode(codes), decode(model, codes));
		runtime.close();
	});
});

describe("a skip connection", () => {
	const model = withSkip(randomTopK(17, 130, 4), 21);

	test.each([1, 9, 30])("adds what it makes of the inputs, %p rows at a time", async (maxRows) => {
		const half = new Float16Array(rowsFor(model, 20));
		const x = Float32Array.from(half);
		const runtime = await openRuntime(gpu, model, spec(4), maxRows);
		expect(runtime.d_out).toBe(21);
		const codes = await runtime.encode(x, 20);
		expectCodes(codes, encodeTopK(model, x, 20, 4));
		const expected = decode(model, codes, x);
		expectNear(await runtime.decode(codes, x), expected);
		expectNear(await runtime.decode(codes, new Uint16Array(half.buffer)), expected);
		runtime.close();
	});

	test("can't be decoded without as many inputs as codes", async () => {
		const runtime = await openRuntime(gpu, model, spec(4), 9);
		const x = rowsFor(model, 3);
		const codes = await runtime.encode(x, 3);
		await expect(runtime.decode(codes)).rejects.toThrow("decode them with their inputs");
		await expect(runtime.decode(codes, x.subarray(17))).rejects.toThrow("3 input rows of 17 values, not 34");
		runtime.close();
	});
});

describe("codes from elsewhere", () => {
	const model = randomTopK(17, 130, 2);

	test("decode whether they are empty or denser than k", async () => {
		const runtime = await openRuntime(gpu, model, spec(2), 4);
		const random = randomStream(9);
		const counts = [0, 130, 0, 1, 64, 0, 0, 0, 0, 0, 77];
		const offsets = Uint32Array.from([
			0,
			...counts.map((_, i) => counts.slice(0, i + 1).reduce((a, b) => a + b)),
		]);
		const index = Uint32Array.from(counts.flatMap((count) => Array.from({ length: count }, (_, i) => i)));
		const value = randomTensor([index.length], random).data;
		const codes = { rows: counts.length, offsets, index, value };
		expectNear(await runtime.decode(codes), decode(model, codes));
		const none = {
			rows: 3,
			offsets: new Uint32Array(4),
			index: new Uint32Array(),
			value: new Float32Array(),
		};
		expectNear(await runtime.decode(none), decode(model, none));
		expect((await runtime.decode({ ...none, rows: 0, offsets: new Uint32Array(1) })).length).toBe(0);
		runtime.close();
	});

	test("and rows without a positive pre-activation have no codes", async () => {
		const silent = {
			...model,
			tensors: { ...model.tensors, b_enc: { shape: [130], data: new Float32Array(130).fill(-99) } },
		};
		const runtime = await openRuntime(gpu, silent, spec(2), 4);
		expectCodes(await runtime.encode(rowsFor(model, 6), 6), {
			rows: 6,
			offsets: new Uint32Array(7),
			index: new Uint32Array(),
			value: new Float32Array(),
		});
		expectCodes(await runtime.encode(new Float32Array(), 0), {
			rows: 0,
			offsets: new Uint32Array(1),
			index: new Uint32Array(),
			value: new Float32Array(),
		});
		runtime.close();
	});
});

describe("rows that are normalised by their own numbers", () => {
	/** By SAELens' definitions: the rows to encode, and what takes their reconstructions back. */
	const normalised = {
		layer_norm(row: readonly number[]) {
			const mean = row.reduce((sum, value) => sum + value, 0) / row.length;
			const variance = row.reduce((sum, value) => sum + (value - mean) ** 2, 0) / (row.length - 1);
			const deviation = Math.sqrt(variance);
			return {
				row: row.map((value) => (value - mean) / (deviation + 1e-5)),
				back: (value: number) => value * deviation + mean,
			};
		},
		constant_norm_rescale(row: readonly number[]) {
			const length = Math.hypot(...row) / Math.sqrt(row.length);
			return {
				row: row.map((value) => (length > 0 ? value / length : 0)),
				back: (value: number) => value * length,
			};
		},
	};

	test.each([
		["layer_norm", 17, true, 4],
		["layer_norm", 130, false, 100],
		["constant_norm_rescale", 17, false, 4],
		["constant_norm_rescale", 65, true, 100],
	] as const)(
		"%s of width %p, b_dec taken from them: %p, %p at a time",
		async (kind, d_in, centre, maxRows) => {
			const model = {
				...randomTopK(d_in, 150, 5),
				apply_b_dec_to_input: centre,
				normalize_activations: kind,
			};
			const half = new Float16Array(rowsFor(model, 11)).fill(0, 3 * d_in, 4 * d_in);
			const x = Float32Array.from(half);
			const parts = Array.from({ length: 11 }, (_, r) =>
				normalised[kind]([...x.subarray(r * d_in, (r + 1) * d_in)]),
			);
			const plain = { ...model, normalize_activations: "none" } as const;
			const expected = encodeTopK(
				plain,
				parts.flatMap(({ row }) => row),
				11,
				5,
			);
			const y = decode(plain, expected).map((value, i) => parts[Math.floor(i / d_in)]!.back(value));
			const runtime = await openRuntime(gpu, model, spec(5), maxRows);
			const codes = await runtime.encode(x, 11);
			expectCodes(codes, expected);
			expectNear(await runtime.decode(codes, x), y);
			const bits = new Uint16Array(half.buffer);
			expectCodes(await runtime.encode(bits, 11), expected);
			expectNear(await runtime.decode(codes, bits), y);
			await expect(runtime.decode(codes)).rejects.toThrow("normalises every row by its own numbers");
			runtime.close();
		},
	);
});

describe("refuses", () => {
	const model = randomTopK(17, 130, 2);

	test("an input scale that nobody knows, rows that change before a skip connection, and a k of nothing", async () => {
		const lost = { ...model, normalize_activations: "expected_average_only_in" } as const;
		await expect(openRuntime(gpu, lost, spec(2))).rejects.toThrow("sae import --input-scale");
		const skipping = { ...withSkip(model, 17), normalize_activations: "layer_norm" } as const;
		await expect(openRuntime(gpu, skipping, spec(2))).rejects.toThrow("normalises its rows and has a skip");
		await expect(openRuntime(gpu, model, spec(0))).rejects.toThrow("k must be at least 1, got 0");
	});

	test("what the device can't hold", async () => {
		const small = new Gpu({ device: gpu.device, info: gpu.info, keepAlive: [] }, 40_000);
		await expect(openRuntime(small, model, spec(2))).rejects.toThrow("use a smaller batch");
	});
});
