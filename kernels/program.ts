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

/** Bytes that are taken over from one buffer to another; numbers are multiples of 4. */
export interface Copy {
	readonly from: GPUBuffer;
	readonly fromOffset: number;
	readonly to: GPUBuffer;
	readonly toOffset: number;
	readonly bytes: number;
}

/** What is done around dispatches: buffers set to zeros, then copies `before`; copies `after`. */
export interface Around {
	readonly clear?: readonly GPUBuffer[];
	readonly before?: readonly Copy[];
	readonly after?: readonly Copy[];
}

/** Submits the dispatches in order; each sees what the ones before it wrote. */
export function submit(
	gpu: Gpu,
	dispatches: readonly Dispatch[],
	{ clear = [], before = [], after = [] }: Around = {},
): void {
	const encoder = gpu.device.createCommandEncoder();
	const copy = (copies: readonly Copy[]) => {
		for (const { from, fromOffset, to, toOffset, bytes } of copies) {
			encoder.copyBufferToBuffer(from, fromOffset, to, toOffset, bytes);
		}
	};
	for (const buffer of clear) encoder.clearBuffer(buffer);
	copy(before);
	const pass = encoder.beginComputePass();
	for (const { pipeline, bindGroup, groups } of dispatches) {
		pass.setPipeline(pipeline);
		pass.setBindGroup(0, bindGroup);
		pass.dispatchWorkgroups(...groups);
	}
	pass.end();
	copy(after);
	gpu.device.queue.submit([encoder.finish()]);
}
