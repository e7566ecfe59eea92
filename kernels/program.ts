/**
 * A program: GPU work laid out once and run many times. Buffers and shapes are fixed when it is built, so that a
 * run only encodes the list and submits it.
 */
import type { Gpu } from "./gpu.ts";

/** One kernel, bound to its buffers. */
export interface Dispatch {
	readonly label: string;
	readonly pipeline: GPUComputePipeline;
	readonly bindGroup: GPUBindGroup;
	readonly groups: readonly [number, number, number];
}

/** A buffer, or the part of one that a kernel sees. */
export type Binding =
	| GPUBuffer
	| { readonly buffer: GPUBuffer; readonly offset: number; readonly size: number };

/** Workgroup counts past 65,535 in one dimension are split over two; kernels fold them back (see wgsl.ts). */
const MAX_GROUPS = 65_535;

/**
 * Binds WGSL to buffers, in the order of its `@binding` numbers.
 * `groups` is a number of workgroups that the kernel reads with `group_index()`, or an explicit grid.
 */
export function dispatch(
	gpu: Gpu,
	label: string,
	code: string,
	bindings: readonly Binding[],
	groups: number | readonly [number, number, number],
): Dispatch {
	const pipeline = gpu.pipeline(label, code);
	const bindGroup = gpu.device.createBindGroup({
		label,
		layout: pipeline.getBindGroupLayout(0),
		entries: bindings.map((binding, index) => ({
			binding: index,
			resource: "offset" in binding ? binding : { buffer: binding },
		})),
	});
	return { label, pipeline, bindGroup, groups: typeof groups === "number" ? grid(groups) : groups };
}

/** A grid of so many workgroups. */
export function grid(groups: number): [number, number, number] {
	if (groups <= MAX_GROUPS) return [groups, 1, 1];
	const rows = Math.ceil(groups / MAX_GROUPS);
	return [Math.ceil(groups / rows), rows, 1];
}

/** Submits the dispatches in order; each sees what the ones before it wrote. */
export function submit(gpu: Gpu, dispatches: readonly Dispatch[]): void {
	const encoder = gpu.device.createCommandEncoder();
	const pass = encoder.beginComputePass();
	for (const { pipeline, bindGroup, groups } of dispatches) {
		pass.setPipeline(pipeline);
		pass.setBindGroup(0, bindGroup);
		pass.dispatchWorkgroups(...groups);
	}
	pass.end();
	gpu.device.queue.submit([encoder.finish()]);
}
