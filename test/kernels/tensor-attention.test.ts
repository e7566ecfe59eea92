/** Attention on tensor cores against its formula in float64; where there are none, with matrices that are computed without. */
import { afterAll, beforeAll, expect, test } from "bun:test";
import { openGpu } from "../../core/gpu/device.ts";
import type { Gpu } from "../../kernels/gpu.ts";
import type { AttentionShape } from "../../kernels/model/attention.ts";
import { splitRows } from "../../kernels/model/split.ts";
import { attendHalves, fitsTensors, TENSOR_QUERIES } from "../../kernels/model/tensor-attention.ts";
import { dispatch, submit } from "../../kernels/program.ts";
import { attention, blocksOf } from "../reference/attention.ts";
import { randomStream, randomTensor } from "../reference/models.ts";
import { emulated } from "./emulated-matrices.ts";

let gpu: Gpu;
beforeAll(async () => {
	gpu = await openGpu();
});
afterAll(() => gpu.close());

/** A sequence of two blocks of queries and several tiles of keys, and a few queries behind keys that came before. */
const SEQUENCES = [
	{ queries: 70, past: 0 },
	{ queries: 3, past: 67 },
];

const CASES = [
	{ d_head: 16, group: 2, softcap: 3, window: 66 },
	{ d_head: 64, group: 1, softcap: 0, window: 0 },
	{ d_head: 80, group: 1, softcap: 0, window: 70 },
	{ d_head: 128, group: 2, softcap: 3, window: 0 },
];

for (const [i, size] of CASES.entries()) {
	test(`heads of ${size.d_head}`, async () => {
		// Without tensor cores the smallest has to do: others take minutes to compile, as would more keys at a time.
		if (!gpu.halfProduct?.attend && i > 0) return;
		const attend =
			gpu.halfProduct?.attend ??
			((shape: AttentionShape, parts: 1 | 2) =>
				emulated(attendHalves(shape, parts, 16), "blocks[0].y == 0u"));
		const heads = 2;
		const stride = heads * size.d_head;
		const shape = { ...size, stride, keyStride: stride / size.group, scale: 1 / Math.sqrt(size.d_head) };
		const random = randomStream(size.d_head);
		const keys = SEQUENCES.reduce((sum, { queries, past }) => sum + queries + past, 0);
		const rows = SEQUENCES.reduce((sum, { queries }) => sum + queries, 0);
		const q = randomTensor([rows, stride], random, 3).data;
		const k = randomTensor([keys, shape.keyStride], random, 3).data;
		// Values of rows that differ much in size.
		const v = randomTensor([keys, shape.keyStride], random, 2).data.map(
			(value, i) => value * 2 ** ((Math.floor(i / shape.keyStride) * 5) % 7),
		);
		const wanted = attention(shape, heads, SEQUENCES, { q, k, v });
		const blocks = blocksOf(SEQUENCES, TENSOR_QUERIES);
		const upload = (data: Float32Array | Uint32Array) => {
			const buffer = gpu.buffer("operand", data.byteLength);
			gpu.writePadded(buffer, data);
			return buffer;
		};
		for (const parts of gpu.halfProduct?.attend ? ([2, 1] as const) : ([1] as const)) {
			const halves = [q, k, v].map((data, i) => {
				const width = i === 0 ? stride : shape.keyStride;
				const [buffer, scales] = [
					gpu.buffer("halves", data.length * 2 * parts),
					gpu.buffer("scales", data.length),
				];
				const place = gpu.constants(0, data.length / width, width / 4);
				const bindings = [place, upload(data), buffer, scales];
				submit(gpu, [dispatch(gpu, "split", splitRows("f32", parts, 64), bindings, data.length / width)]);
				return { buffer, scales };
			});
			const out = gpu.buffer("out", wanted.length * 4);
			const kernel = await gpu.checked("attention", () =>
				dispatch(
					gpu,
					"attention",
					attend(shape, parts),
					[upload(blocks), ...halves.map(({ buffer }) => buffer), ...halves.map(({ scales }) => scales), out],
					[heads, blocks.length / 4, 1],
				),
			);
			submit(gpu, [kernel]);
			const found = new Float32Array(await gpu.read(out, 0, wanted.length * 4));
			const error = Math.hypot(...wanted.map((value, i) => found[i]! - value)) / Math.hypot(...wanted);
			if (parts === 2) expect(error).toBeLessThan(2e-6);
			else expect(error).toBeWithin(1e-5, 5e-3);
		}
	});
}

test("heads that tensor cores take have whole matrices, and room in shared memory", () => {
	const fits = (memory: number) =>
		[8, 16, 64, 72, 80, 128, 256].filter((d_head) => fitsTensors({ d_head }, 2, memory));
	expect(fits(48 * 1024)).toEqual([16, 64, 80, 128]);
	expect(fits(32 * 1024)).toEqual([16, 80]);
});
