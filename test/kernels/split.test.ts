/** Rows in parts of float16, and products of them, against float64. */
import { afterAll, beforeAll, expect, test } from "bun:test";
import { fromFloat32, toFloat32 } from "../../core/files/dtype.ts";
import { openGpu } from "../../core/gpu/device.ts";
import type { Gpu } from "../../kernels/gpu.ts";
import { tileGroups } from "../../kernels/matmul.ts";
import { splitRows } from "../../kernels/model/split.ts";
import { dispatch, submit } from "../../kernels/program.ts";
import { randomStream } from "../reference/models.ts";
import { PLAIN_HALF_PRODUCT } from "./half-product.ts";

let gpu: Gpu;
beforeAll(async () => {
	gpu = await openGpu();
});
afterAll(() => gpu.close());

const [ROWS, COLUMNS, WIDTH] = [128, 128, 64];

/** Rows of sizes from 2⁻³⁰ to 2³⁰, each with one number a thousand times the rest, and one of zeros. */
function uneven(rows: number, seed: number): Float32Array {
	const random = randomStream(seed);
	return Float32Array.from({ length: rows * WIDTH }, (_, i) => {
		const row = Math.floor(i / WIDTH);
		const size = 2 ** (((row * 7) % 61) - 30);
		return row === 3 ? 0 : (2 * random() - 1) * size * (i % WIDTH === row % WIDTH ? 1000 : 1);
	});
}

function upload(data: Float32Array | Uint16Array): GPUBuffer {
	const buffer = gpu.buffer("operand", data.byteLength);
	gpu.writePadded(buffer, data);
	return buffer;
}

function split(source: GPUBuffer, rows: number, format: "f32" | "bf16", parts: 1 | 2) {
	const halves = gpu.buffer("halves", rows * WIDTH * 2 * parts);
	const scales = gpu.buffer("scales", rows * 4);
	const place = gpu.constants(0, rows, WIDTH / 4);
	const code = splitRows(format, parts, gpu.threads(64));
	submit(gpu, [dispatch(gpu, "split", code, [place, source, halves, scales], rows)]);
	return { halves, scales };
}

/** The largest error of a product with these parts, relative to the lengths of the rows multiplied. */
async function errorOf(a: 1 | 2, b: 1 | 2, format: "f32" | "bf16"): Promise<number> {
	const x = uneven(ROWS, 1);
	const floats = uneven(COLUMNS, 2);
	const stored = new Uint8Array(fromFloat32(floats, format));
	const w = toFloat32(stored, format);
	const left = split(upload(x), ROWS, "f32", a);
	const words = format === "f32" ? w : new Uint16Array(stored.buffer, stored.byteOffset, w.length);
	const right = split(upload(words), COLUMNS, format, b);
	const bias = Float32Array.from({ length: COLUMNS }, (_, i) => i / 8);
	const out = gpu.buffer("out", ROWS * COLUMNS * 4);
	const place = gpu.constants(0, 0, WIDTH / 4, COLUMNS / 4);
	const product = gpu.halfProduct ?? PLAIN_HALF_PRODUCT;
	const bindings = [place, left.halves, right.halves, left.scales, right.scales, out, upload(bias)];
	const groups = tileGroups(product, ROWS, COLUMNS);
	submit(gpu, [dispatch(gpu, "product", product.dense({ a, b }, true), bindings, groups)]);
	const found = new Float32Array(await gpu.read(out, 0, ROWS * COLUMNS * 4));
	let worst = 0;
	for (let row = 0; row < ROWS; row++) {
		for (let column = 0; column < COLUMNS; column++) {
			let [sum, xx, ww] = [bias[column]!, 0, 0];
			for (let k = 0; k < WIDTH; k++) {
				const [p, q] = [x[row * WIDTH + k]!, w[column * WIDTH + k]!];
				sum += p * q;
				xx += p * p;
				ww += q * q;
			}
			const error = Math.abs(found[row * COLUMNS + column]! - sum);
			worst = Math.max(worst, error / (Math.sqrt(xx * ww) + Math.abs(bias[column]!) || 1));
		}
	}
	return worst;
}

test("two parts keep float32's precision, whatever the sizes of rows and of what is in them", async () => {
	expect(await errorOf(2, 2, "f32")).toBeLessThan(6e-7);
	expect(await errorOf(2, 1, "bf16")).toBeLessThan(6e-7);
});

test("one part has float16's, and no less", async () => {
	expect(await errorOf(1, 1, "f32")).toBeWithin(1e-5, 2 ** -10);
});
