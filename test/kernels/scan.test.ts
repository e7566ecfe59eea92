/** Prefix sums, around the sizes where a further block or a further round begins. */
import { afterAll, beforeAll, expect, test } from "bun:test";
import { openGpu } from "../../core/gpu/device.ts";
import type { Gpu } from "../../kernels/gpu.ts";
import { submit } from "../../kernels/program.ts";
import { exclusiveScan } from "../../kernels/scan.ts";
import { randomStream } from "../reference/models.ts";

let gpu: Gpu;
beforeAll(async () => {
	gpu = await openGpu();
});
afterAll(() => gpu.close());

const BLOCK = 1024;
const ROUND = 256 * BLOCK;

test.each([1, 3, BLOCK - 1, BLOCK, BLOCK + 1, 5000, ROUND - 1, ROUND, ROUND + 1, 3 * ROUND + 777])(
	"of %i counts",
	async (n) => {
		const random = randomStream(n);
		const given = Uint32Array.from({ length: n }, () => Math.floor(random() * 1000));
		const counts = gpu.buffer("counts", n * 4);
		const offsets = gpu.buffer("offsets", (n + 1) * 4);
		gpu.write(counts, given);
		const kernels = exclusiveScan(gpu, "test", counts, offsets, n);
		// Twice: nothing may be left over from the run before.
		submit(gpu, kernels);
		submit(gpu, kernels);
		const expected = new Uint32Array(n + 1);
		for (const [i, count] of given.entries()) expected[i + 1] = expected[i]! + count;
		expect(Buffer.from(await gpu.read(offsets, 0, (n + 1) * 4)).equals(Buffer.from(expected.buffer))).toBe(
			true,
		);
	},
);
