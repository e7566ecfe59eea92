/**
 * Attention on tensor cores, where the device gives the right result. Matrices in WGSL are an experiment of Dawn's, and a
 * driver that is wrong about them would change activations without a word: so a few queries are asked both ways first.
 */
import { type Gpu, GpuError } from "../../kernels/gpu.ts";
import {
	type AttentionShape,
	attendBlocks,
	attentionTile,
	blockRows,
} from "../../kernels/model/attention.ts";
import { splitRows } from "../../kernels/model/split.ts";
import { fitsTensors, TENSOR_QUERIES } from "../../kernels/model/tensor-attention.ts";
import { dispatch, submit } from "../../kernels/program.ts";
import { CounterRng } from "../random.ts";
import type { Layer, ModelSpec } from "./spec.ts";
import { strideOf } from "./weights.ts";

export type AttendHalves = (shape: AttentionShape, parts: 1 | 2) => string;

/** How a layer attends, with rows as they lie on the device. */
export function attentionShape(spec: ModelSpec, { scale, window }: Layer): AttentionShape {
	const { d_head, heads, kvHeads, scoreCap } = spec;
	return {
		d_head,
		group: heads / kvHeads,
		stride: strideOf(heads * d_head),
		keyStride: strideOf(kvHeads * d_head),
		scale,
		softcap: scoreCap,
		window,
	};
}

/** The kernel for a model; undefined where float32 kernels attend: without tensor cores, or where these are wrong. */
export async function attentionHalves(
	gpu: Gpu,
	spec: ModelSpec,
	parts: 1 | 2,
): Promise<AttendHalves | undefined> {
	const attend = gpu.halfProduct?.attend;
	const memory = gpu.device.limits.maxComputeWorkgroupStorageSize;
	const [layer] = spec.layers;
	if (!attend || !layer || !fitsTensors(spec, parts, memory)) return undefined;
	return (await isRight(gpu, attentionShape(spec, layer), spec.heads, parts, attend)) ? attend : undefined;
}

/** More than a block of queries, and several tiles of keys. */
const ROWS = 100;

/** Largest error, as a share of the result's length: what float16 leaves of two parts, or one, and some. */
const MOST = { 1: 1e-2, 2: 1e-5 };

/** Whether the kernel gives what the float32 one gives. */
export async function isRight(
	gpu: Gpu,
	shape: AttentionShape,
	heads: number,
	parts: 1 | 2,
	attend: AttendHalves,
): Promise<boolean> {
	const buffers: GPUBuffer[] = [];
	const own = (buffer: GPUBuffer) => {
		buffers.push(buffer);
		return buffer;
	};
	const upload = (data: Float32Array | Uint32Array) => {
		const buffer = own(gpu.buffer("trial", data.byteLength));
		gpu.writePadded(buffer, data);
		return buffer;
	};
	const ask = async (
		code: string,
		queries: number,
		operands: readonly GPUBuffer[],
		scales: readonly GPUBuffer[] = [],
	): Promise<Float32Array> => {
		const blocks = blocksOf(queries);
		const out = own(gpu.buffer("trial", ROWS * shape.stride * 4));
		const kernel = await gpu.checked("attention", () =>
			dispatch(
				gpu,
				"attention",
				code,
				[upload(blocks), ...operands, ...scales, out],
				[heads, blocks.length / 4, 1],
			),
		);
		submit(gpu, [kernel]);
		return new Float32Array(await gpu.read(out, 0, ROWS * shape.stride * 4));
	};
	try {
		const widths = [shape.stride, shape.keyStride, shape.keyStride];
		const rows = widths.map((width, i) => upload(randomRows(width, i)));
		const tile = attentionTile(gpu.info, shape.d_head);
		const wanted = await ask(attendBlocks(shape, tile), blockRows(tile), rows);
		const split = rows.map((buffer, i) => {
			const halves = own(gpu.buffer("trial", ROWS * widths[i]! * 2 * parts));
			const scales = own(gpu.buffer("trial", ROWS * 4));
			const place = own(gpu.constants(0, ROWS, widths[i]! / 4));
			const code = splitRows("f32", parts, gpu.threads(64));
			submit(gpu, [dispatch(gpu, "split", code, [place, buffer, halves, scales], ROWS)]);
			return { halves, scales };
		});
		const found = await ask(
			attend(shape, parts),
			TENSOR_QUERIES,
			split.map(({ halves }) => halves),
			split.map(({ scales }) => scales),
		);
		// A NaN is not less than anything.
		return distance(found, wanted) < MOST[parts] * distance(wanted, new Float32Array(wanted.length));
	} catch (error) {
		if (error instanceof GpuError) return false;
		throw error;
	} finally {
		for (const buffer of buffers) buffer.destroy();
	}
}

function blocksOf(queries: number): Uint32Array {
	const count = Math.ceil(ROWS / queries);
	return Uint32Array.from({ length: 4 * count }, (_, i) => {
		const first = Math.floor(i / 4) * queries;
		return [first, Math.min(queries, ROWS - first), 0, first][i % 4]!;
	});
}

/** Rows of very different sizes, as models have them. */
function randomRows(width: number, which: number): Float32Array {
	const random = new CounterRng(1).derive(which);
	const sizeOf = (row: number) => (which < 2 ? 2 : 2 ** ((row * 5) % 7));
	return Float32Array.from(
		{ length: ROWS * width },
		(_, i) => sizeOf(Math.floor(i / width)) * random.normal(i),
	);
}

function distance(a: Float32Array, b: Float32Array): number {
	return Math.sqrt(a.reduce((sum, value, i) => sum + (value - b[i]!) ** 2, 0));
}
