/** Column sums and deviations of matrices larger than one workgroup's share. */
import { afterAll, beforeAll, expect, test } from "bun:test";
import { openGpu } from "../../core/gpu/device.ts";
import { COLUMN_BLOCK, columnGroups, columnSums, rowDeviations } from "../../kernels/columns.ts";
import type { Gpu } from "../../kernels/gpu.ts";
import { dispatch, submit } from "../../kernels/program.ts";
import { randomStream, randomTensor } from "../reference/models.ts";

let gpu: Gpu;
beforeAll(async () => {
	gpu = await openGpu();
});
afterAll(() => gpu.close());

const ROWS = 2 * COLUMN_BLOCK + 19;
const FIRST = 3;
const WIDTH = 80;
const random = randomStream(5);
const data = randomTensor([FIRST + ROWS, WIDTH], random).data;
const weights = randomTensor([FIRST + ROWS], random).data.map((value) => Math.max(value, 0));

function upload(values: Float32Array): GPUBuffer {
	const buffer = gpu.buffer("test", values.byteLength);
	gpu.write(buffer, values as Float32Array<ArrayBuffer>);
	return buffer;
}

function words(...numbers: number[]): GPUBuffer {
	const uniform = gpu.uniform("test", 16);
	gpu.write(uniform, new Uint32Array(numbers));
	return uniform;
}

async function read(buffer: GPUBuffer, length: number): Promise<Float32Array> {
	return new Float32Array(await gpu.read(buffer, 0, length * 4));
}

/** Σ weight · row over rows `from` to `to` of the data behind FIRST, in float64. */
function sums(from: number, to: number, weight: (row: number) => number): number[] {
	return Array.from({ length: WIDTH }, (_, column) => {
		let sum = 0;
		for (let row = from; row < to; row++) sum += weight(row) * data[(FIRST + row) * WIDTH + column]!;
		return sum;
	});
}

test.each([false, true])("sums of blocks of rows, weighted: %p", async (weighted) => {
	const FIRST_OUT = 2;
	const FIRST_WEIGHT = 1;
	const blocks = Math.ceil(ROWS / COLUMN_BLOCK);
	const out = gpu.buffer("out", (FIRST_OUT + blocks) * WIDTH * 4);
	const bindings = [words(ROWS, FIRST, FIRST_OUT, FIRST_WEIGHT), upload(data), out];
	const kernel = await gpu.checked("the sums", () =>
		dispatch(
			gpu,
			"sums",
			columnSums({ width: WIDTH, weighted }),
			weighted ? [...bindings, upload(weights)] : bindings,
			columnGroups(WIDTH, ROWS),
		),
	);
	submit(gpu, [kernel]);
	const found = await read(out, (FIRST_OUT + blocks) * WIDTH);
	expect(found.subarray(0, FIRST_OUT * WIDTH).every((value) => value === 0)).toBe(true);
	const weight = (row: number) => (weighted ? weights[FIRST_WEIGHT + row]! : 1);
	for (let block = 0; block < blocks; block++) {
		const end = Math.min(ROWS, (block + 1) * COLUMN_BLOCK);
		for (const [column, sum] of sums(block * COLUMN_BLOCK, end, weight).entries())
			expect(found[(FIRST_OUT + block) * WIDTH + column]!).toBeCloseTo(sum, 4);
	}
});

test("squared distances of rows from their mean, without the padding's", async () => {
	const d_in = WIDTH - 7;
	const total = sums(0, ROWS, () => 1);
	const out = gpu.buffer("out", ROWS * 4);
	const kernel = await gpu.checked("the deviations", () =>
		dispatch(
			gpu,
			"deviations",
			rowDeviations({ width: WIDTH, d_in, threads: gpu.threads(64) }),
			[words(ROWS, FIRST, 0, 0), upload(data), upload(Float32Array.from(total)), out],
			ROWS,
		),
	);
	submit(gpu, [kernel]);
	for (const [row, value] of (await read(out, ROWS)).entries()) {
		let exact = 0;
		for (let i = 0; i < d_in; i++) exact += (data[(FIRST + row) * WIDTH + i]! - total[i]! / ROWS) ** 2;
		expect(value).toBeCloseTo(exact, 3);
	}
});
