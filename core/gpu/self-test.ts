/** A kernel small enough to run anywhere, whose result is known to the bit. */
import type { Gpu } from "./device.ts";

const INVOCATIONS = 1 << 14;
const STEPS = 2048;
const WORKGROUP = 64;
const REPEATS = 3;

/** Halving is exact, so each step rounds once, fused or not, and every device must agree with JavaScript. */
const WGSL = `
@group(0) @binding(0) var<storage, read_write> result: array<f32>;
@compute @workgroup_size(${WORKGROUP})
fn main(@builtin(global_invocation_id) id: vec3u) {
	var x = f32(id.x);
	for (var step = 0u; step < ${STEPS}u; step++) { x = x * 0.5 + f32(step); }
	result[id.x] = x;
}`;

export interface SelfTest {
	readonly correct: boolean;
	/** Time of the fastest of several runs. */
	readonly milliseconds: number;
	/** Multiplications and additions per second, in 10⁹: an idea of the speed, far from a benchmark. */
	readonly gflops: number;
}

export async function selfTest(gpu: Gpu): Promise<SelfTest> {
	const bytes = INVOCATIONS * 4;
	const buffer = gpu.buffer("self-test", bytes);
	const pipeline = await gpu.checked("the test kernel", () => gpu.pipeline("self-test", WGSL));
	const group = gpu.device.createBindGroup({
		layout: pipeline.getBindGroupLayout(0),
		entries: [{ binding: 0, resource: { buffer } }],
	});
	let milliseconds = Number.POSITIVE_INFINITY;
	let values = new Float32Array();
	for (let repeat = 0; repeat < REPEATS; repeat++) {
		const start = performance.now();
		const encoder = gpu.device.createCommandEncoder();
		const pass = encoder.beginComputePass();
		pass.setPipeline(pipeline);
		pass.setBindGroup(0, group);
		pass.dispatchWorkgroups(INVOCATIONS / WORKGROUP);
		pass.end();
		gpu.device.queue.submit([encoder.finish()]);
		values = new Float32Array(await gpu.read(buffer, 0, bytes));
		milliseconds = Math.min(milliseconds, performance.now() - start);
	}
	buffer.destroy();
	const correct = values.every((value, id) => value === expected(id));
	return { correct, milliseconds, gflops: (2 * INVOCATIONS * STEPS) / milliseconds / 1e6 };
}

function expected(id: number): number {
	let x = id;
	for (let step = 0; step < STEPS; step++) x = Math.fround(x * 0.5 + step);
	return x;
}
