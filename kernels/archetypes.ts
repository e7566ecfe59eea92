/** A decoder that is made of others: W_dec = exp(s) · (A · C + R), with the product A · C from matmul.ts. */
import { GROUP_INDEX, workgroupSum } from "./wgsl.ts";

/** Bindings: uniform { numbers }, log scale, R, W_dec (which holds A · C). A thread per number. */
export const COMPOSE_ATOMS = /* wgsl */ `
${GROUP_INDEX}
@group(0) @binding(0) var<uniform> size: vec4u;
@group(0) @binding(1) var<storage, read> log_scale: array<f32>;
@group(0) @binding(2) var<storage, read> relaxation: array<f32>;
@group(0) @binding(3) var<storage, read_write> w_dec: array<f32>;

@compute @workgroup_size(64)
fn main(@builtin(workgroup_id) group: vec3u, @builtin(num_workgroups) groups: vec3u, @builtin(local_invocation_index) thread: u32) {
	let i = group_index(group, groups) * 64u + thread;
	if (i >= size.x) { return; }
	w_dec[i] = exp(log_scale[0]) * (w_dec[i] + relaxation[i]);
}
`;

/**
 * From the gradient of W_dec to that of A · C + R, in place, and what each row has to say about s.
 * Bindings: uniform { rows }, log scale, W_dec [rows, width], gradient [rows, width], products [rows]. A workgroup per row.
 */
export function passBackToAtoms({ width, threads }: { width: number; threads: number }): string {
	return /* wgsl */ `
${GROUP_INDEX}
${workgroupSum(threads)}
@group(0) @binding(0) var<uniform> size: vec4u;
@group(0) @binding(1) var<storage, read> log_scale: array<f32>;
@group(0) @binding(2) var<storage, read> w_dec: array<f32>;
@group(0) @binding(3) var<storage, read_write> gradient: array<f32>;
@group(0) @binding(4) var<storage, read_write> products: array<f32>;

@compute @workgroup_size(${threads})
fn main(@builtin(workgroup_id) group: vec3u, @builtin(num_workgroups) groups: vec3u, @builtin(local_invocation_index) thread: u32) {
	let row = group_index(group, groups);
	if (row >= size.x) { return; }
	let scale = exp(log_scale[0]);
	var mine = 0.0;
	for (var i = row * ${width}u + thread; i < (row + 1u) * ${width}u; i += ${threads}u) {
		let g = gradient[i];
		mine += g * w_dec[i];
		gradient[i] = scale * g;
	}
	let total = workgroup_sum(thread, mine);
	if (thread == 0u) { products[row] = total; }
}
`;
}

/** Bindings: uniform { numbers }, numbers, out. out[0] is their sum. One workgroup. */
export const SUM_NUMBERS = /* wgsl */ `
${workgroupSum(256)}
@group(0) @binding(0) var<uniform> size: vec4u;
@group(0) @binding(1) var<storage, read> numbers: array<f32>;
@group(0) @binding(2) var<storage, read_write> out: array<f32>;

@compute @workgroup_size(256)
fn main(@builtin(local_invocation_index) thread: u32) {
	var mine = 0.0;
	for (var i = thread; i < size.x; i += 256u) { mine += numbers[i]; }
	let total = workgroup_sum(thread, mine);
	if (thread == 0u) { out[0] = total; }
}
`;
