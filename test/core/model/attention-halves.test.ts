/** Attention on tensor cores is used where it is right; here with matrices that are computed without tensor cores. */
import { afterAll, beforeAll, expect, test } from "bun:test";
import { openGpu } from "../../../core/gpu/device.ts";
import { type AttendHalves, isRight } from "../../../core/model/attention-halves.ts";
import type { Gpu } from "../../../kernels/gpu.ts";
import { attendHalves } from "../../../kernels/model/tensor-attention.ts";
import { emulated } from "../../kernels/emulated-matrices.ts";

let gpu: Gpu;
beforeAll(async () => {
	gpu = await openGpu();
});
afterAll(() => gpu.close());

const SHAPE = { d_head: 16, group: 2, stride: 32, keyStride: 16, scale: 0.25, softcap: 3, window: 66 };

const emulation: AttendHalves = (shape, parts) =>
	emulated(attendHalves(shape, parts, 16), "blocks[0].y == 0u");

test.each<[string, AttendHalves, boolean]>([
	["right", emulation, true],
	["off by a hundredth", (...of) => emulation(...of).replace("* share;", "* share * 1.02;"), false],
	[
		"blind to masks",
		(...of) => emulation(...of).replaceAll("> vec4u(position))", "> vec4u(position + 1u))"),
		false,
	],
	["no kernel", () => "fn main() { nonsense }", false],
	["silent", () => SILENT, false],
])("a kernel that is %s", async (_, attend, right) => {
	expect(await isRight(gpu, SHAPE, 2, 1, attend)).toBe(right);
});

/** Declares what it is given, and writes nothing. */
const SILENT = /* wgsl */ `
${["blocks", "q", "k", "v", "q_scale", "k_scale", "v_scale"]
	.map((name, i) => `@group(0) @binding(${i}) var<storage, read> ${name}: array<vec4u>;`)
	.join("\n")}
@group(0) @binding(7) var<storage, read_write> out: array<vec4f>;
@compute @workgroup_size(1) fn main() {
	let all = blocks[0] + q[0] + k[0] + v[0] + q_scale[0] + k_scale[0] + v_scale[0];
	if (all.x == 0x7fffffffu) { out[0] = vec4f(1.0); }
}`;
