/** Without a device nothing else here means anything: that is a failure, never a reason to skip. */
import { expect, test } from "bun:test";
import { openGpu } from "../core/gpu/device.ts";
import { selfTest } from "../core/gpu/self-test.ts";

test("a device computes a known result to the bit", async () => {
	const gpu = await openGpu();
	expect(await selfTest(gpu)).toMatchObject({ correct: true });
	gpu.close();
});
