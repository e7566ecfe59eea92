/** The selection by itself, against sorting, on rows that are hard for it. */
import { afterAll, beforeAll, describe, expect, test } from "bun:test";
import { openGpu } from "../../core/gpu/device.ts";
import type { Gpu } from "../../kernels/gpu.ts";
import { roundUp, TILE } from "../../kernels/layout.ts";
import { GROUP } from "../../kernels/matmul.ts";
import { dispatch, submit } from "../../kernels/program.ts";
import { selectTopK } from "../../kernels/topk.ts";
import { SELECT_THREADS, type TopKShape } from "../../kernels/topk-parts.ts";
import { packStep, STEP_PARAMS_BYTES } from "../../kernels/wgsl.ts";
import { randomStream } from "../reference/models.ts";

let gpu: Gpu;
beforeAll(async () => {
	gpu = await openGpu();
});
afterAll(() => gpu.close());

const random = randomStream(11);
const normal = () => Math.sqrt(-2 * Math.log(1 - random())) * Math.cos(2 * Math.PI * random());
const DENORMAL = 2 ** -149;

/** Kinds of rows: value of latent i of n. */
const ROWS: Record<string, (i: number, n: number) => number> = {
	normal,
	"many ties": () => Math.round(2 * normal()) / 4,
	"all equal": () => 0.75,
	"all negative": () => -1 - random(),
	"zeros of both signs": (i) => (i % 2 === 0 ? 0 : -0),
	"zeros with one positive value": (i, n) => (i === n - 1 ? 1e-20 : -0),
	denormals: () => Math.floor(50 * random() - 10) * DENORMAL,
	infinities: (i) =>
		i % 7 === 3 ? Number.POSITIVE_INFINITY : i % 7 === 5 ? Number.NEGATIVE_INFINITY : normal(),
	ascending: (i) => i + 1,
	descending: (i, n) => n - i,
	// All that is large falls into one bucket, whose maximum says nothing about the rest.
	"large values 1024 apart": (i) => (i % 1024 < GROUP ? 1000 + normal() : normal()),
	// So alike that the first look at the values' bits tells none from another: the slow path.
	"values within 2 in 1000": () => 1 + 0.002 * random(),
	"alike, with a few larger ones": (i) => (i % 97 === 0 ? 2 + random() : 1 + 0.002 * random()),
	"every size of number": () => 2 ** (250 * random() - 125) * (random() < 0.3 ? -1 : 1),
};

/** Latents kept, by value and then by index. */
function sorted(row: Float32Array, latents: readonly number[], k: number): number[] {
	return latents
		.filter((latent) => row[latent]! > 0)
		.sort((a, b) => (row[a] === row[b] ? a - b : row[b]! > row[a]! ? 1 : -1))
		.slice(0, k)
		.sort((a, b) => a - b);
}

/** Rows, codes and entries begin at odd places, as they do for later chunks and terms. */
const FIRST_ROW = 3;
const CODE_ROW = 5;
const ENTRY = 7;

/** With workgroups as GPUs have them, and as software drivers do. */
async function check(
	shape: Omit<TopKShape, "threads"> & { readonly d_sae: number },
	k: number,
	dead: readonly number[] = [],
): Promise<void> {
	for (const threads of [SELECT_THREADS, 8]) await checkWith({ ...shape, threads }, k, dead);
}

async function checkWith(shape: TopKShape & { readonly d_sae: number }, k: number, dead: readonly number[]) {
	const { d_sae, maxK, scan } = shape;
	const stride = roundUp(d_sae, TILE);
	const names = Object.keys(ROWS);
	const total = FIRST_ROW + names.length;
	const pre = new Float32Array(names.length * stride);
	for (const [r, name] of names.entries())
		for (let i = 0; i < d_sae; i++) pre[r * stride + i] = ROWS[name]!(i, d_sae);
	const maxima = new Float32Array(pre.length / GROUP);
	for (const i of maxima.keys()) maxima[i] = Math.max(...pre.subarray(i * GROUP, (i + 1) * GROUP));

	const upload = (data: Float32Array<ArrayBuffer> | Uint32Array<ArrayBuffer>) => {
		const buffer = gpu.buffer("test", data.byteLength);
		gpu.write(buffer, data);
		return buffer;
	};
	const words = (...numbers: number[]) => {
		const uniform = gpu.uniform("test", numbers.length * 4);
		gpu.write(uniform, new Uint32Array(numbers));
		return uniform;
	};
	const step = gpu.uniform("step", STEP_PARAMS_BYTES);
	gpu.write(step, packStep({ rows: total, input_scale: 1, k: [0, k] }));
	const index = gpu.buffer("index", (ENTRY + total * maxK) * 4);
	const value = gpu.buffer("value", (ENTRY + total * maxK) * 4);
	const span = gpu.buffer("span", (CODE_ROW + total) * 8);
	const list = scan === "dead" ? upload(new Uint32Array([dead.length, ...dead])) : upload(maxima);
	const kernel = await gpu.checked("the selection", () =>
		dispatch(
			gpu,
			"select",
			selectTopK(shape),
			[
				step,
				words(FIRST_ROW, names.length, CODE_ROW, ENTRY, d_sae, stride, maxK, 1),
				upload(pre),
				list,
				index,
				value,
				span,
			],
			names.length + 1, // one group too many must do no harm
		),
	);
	submit(gpu, [kernel]);
	const spans = new Uint32Array(await gpu.read(span, 0, (CODE_ROW + total) * 8));
	const indices = new Uint32Array(await gpu.read(index, 0, (ENTRY + total * maxK) * 4));
	const values = new Float32Array(await gpu.read(value, 0, (ENTRY + total * maxK) * 4));

	const latents = scan === "dead" ? dead : Array.from({ length: d_sae }, (_, i) => i);
	for (const [r, name] of names.entries()) {
		const [begin, end] = spans.subarray(2 * (CODE_ROW + FIRST_ROW + r)) as unknown as [number, number];
		const row = pre.subarray(r * stride, (r + 1) * stride);
		const expected = sorted(row, latents, k);
		expect({ name, begin, kept: Array.from(indices.subarray(begin, end)) }).toEqual({
			name,
			begin: ENTRY + (FIRST_ROW + r) * maxK,
			kept: expected,
		});
		expect(Array.from(values.subarray(begin, end))).toEqual(expected.map((latent) => row[latent]!));
	}
}

describe("of all latents", () => {
	test.each([
		[1, 1, 1],
		[5, 9, 9],
		[130, 4, 4],
		[130, 4, 2],
		[300, 300, 300],
		[4999, 64, 64],
		[4999, 512, 512],
		[4999, 512, 1],
		[131072, 100, 100],
	])("d_sae %i, room for %i, keeps %i", (d_sae, maxK, k) => check({ d_sae, maxK, scan: "maxima" }, k));
});

describe("of dead latents", () => {
	const everyThird = Array.from({ length: 1666 }, (_, i) => 3 * i + 1);
	const all = Array.from({ length: 4999 }, (_, i) => i);
	test.each([
		["none", [], 32],
		["one", [4998], 32],
		["fewer than are kept", [0, 7, 8, 4000], 32],
		["every third", everyThird, 32],
		["all", all, 31],
	])("%s", (_, dead, k) => check({ d_sae: 4999, maxK: 32, scan: "dead" }, k, dead));
});
