/** Attention against its formula in float64: both ways of sharing the work, odd sizes, windows, caps, cached keys. */
import { afterAll, beforeAll, expect, test } from "bun:test";
import { openGpu } from "../../core/gpu/device.ts";
import type { Gpu } from "../../kernels/gpu.ts";
import { type AttentionTile, attendBlocks, attentionTile, blockRows } from "../../kernels/model/attention.ts";
import { dispatch, submit } from "../../kernels/program.ts";
import { attention, blocksOf } from "../reference/attention.ts";
import { randomStream, randomTensor } from "../reference/models.ts";

let gpu: Gpu;
beforeAll(async () => {
	gpu = await openGpu();
});
afterAll(() => gpu.close());

interface Case {
	readonly d_head: number;
	readonly heads: number;
	readonly group: number;
	readonly softcap: number;
	readonly window: number;
	/** What the device's own threads share, unless given. */
	readonly tile?: AttentionTile;
}

const alone: AttentionTile = { lines: 8, columns: 1, rows: 1 };
const cases: [string, Case][] = [
	["each thread alone", { d_head: 8, heads: 2, group: 1, softcap: 0, window: 0, tile: alone }],
	["as the device has it", { d_head: 8, heads: 2, group: 1, softcap: 0, window: 0 }],
	["odd heads that share keys", { d_head: 5, heads: 4, group: 2, softcap: 0, window: 0, tile: alone }],
	["a window and a cap", { d_head: 6, heads: 2, group: 2, softcap: 1.5, window: 4, tile: alone }],
	// On a software driver this one takes seconds to compile, so it has everything at once.
	[
		"threads that share queries",
		{ d_head: 6, heads: 2, group: 2, softcap: 1.5, window: 11, tile: { lines: 2, columns: 2, rows: 1 } },
	],
];

/** Sequences: queries, and keys that came before them. */
const SEQUENCES = [
	{ queries: 19, past: 0 },
	{ queries: 3, past: 14 },
];
const STRIDE = 24;
const KEY_STRIDE = 16;
const SCALE = 0.7;

test.each(cases)("%s", async (_, { d_head, heads, group, softcap, window, tile: given }) => {
	const tile = given ?? attentionTile(gpu.info, d_head);
	const random = randomStream(d_head);
	const keys = SEQUENCES.reduce((sum, { queries, past }) => sum + queries + past, 0);
	const rows = SEQUENCES.reduce((sum, { queries }) => sum + queries, 0);
	const q = randomTensor([rows, STRIDE], random, 2).data;
	const k = randomTensor([keys, KEY_STRIDE], random, 2).data;
	const v = randomTensor([keys, KEY_STRIDE], random, 2).data;
	const upload = (data: Float32Array | Uint32Array) => {
		const buffer = gpu.buffer("operand", data.byteLength);
		gpu.writePadded(buffer, data);
		return buffer;
	};
	const shape = { d_head, group, stride: STRIDE, keyStride: KEY_STRIDE, scale: SCALE, softcap, window };
	const wanted = attention(shape, heads, SEQUENCES, { q, k, v });
	const blocks = blocksOf(SEQUENCES, blockRows(tile));
	const out = gpu.buffer("out", rows * STRIDE * 4);
	const kernel = await gpu.checked("attention", () =>
		dispatch(
			gpu,
			"attention",
			attendBlocks(shape, tile),
			[upload(blocks), upload(q), upload(k), upload(v), out],
			[heads, blocks.length / 4, 1],
		),
	);
	submit(gpu, [kernel]);
	const found = new Float32Array(await gpu.read(out, 0, rows * STRIDE * 4));
	for (const [i, value] of wanted.entries()) expect(Math.abs(found[i]! - value)).toBeLessThan(1e-5);
});

test("GPUs get tiles whose shared arrays fit the least that devices offer", () => {
	for (const d_head of [64, 128, 256]) {
		const { lines, columns, rows } = attentionTile({ software: false }, d_head);
		expect(lines * rows * columns * (4 + 1 + 1) * 4).toBeLessThanOrEqual(16 * 1024);
	}
});
