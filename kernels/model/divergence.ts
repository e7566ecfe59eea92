/** How far each row's distribution over tokens is from what it was: KL(p ‖ q). */
import { GROUP_INDEX, workgroupSum } from "../wgsl.ts";

/**
 * Bindings: uniform { first row, rows, vocabulary, stride }, logits of p, logits of q (both [rows, stride]), divergences
 * (by row, from the first). KL = Σ p · (log p − log q), in nats. A workgroup per row.
 */
export function tokenDivergences(threads: number): string {
	return /* wgsl */ `
${GROUP_INDEX}
${workgroupSum(threads)}
@group(0) @binding(0) var<uniform> size: vec4u;
@group(0) @binding(1) var<storage, read> clean: array<f32>;
@group(0) @binding(2) var<storage, read> changed: array<f32>;
@group(0) @binding(3) var<storage, read_write> divergences: array<f32>;
var<workgroup> largest: array<vec2f, ${threads}>;

@compute @workgroup_size(${threads})
fn main(@builtin(workgroup_id) group: vec3u, @builtin(num_workgroups) groups: vec3u, @builtin(local_invocation_index) thread: u32) {
	let row = group_index(group, groups);
	if (row >= size.y) { return; }
	let base = row * size.w;
	var own = vec2f(-3e38);
	for (var i = thread; i < size.z; i += ${threads}u) {
		own = max(own, vec2f(clean[base + i], changed[base + i]));
	}
	largest[thread] = own;
	workgroupBarrier();
	var top = largest[0];
	for (var t = 1u; t < ${threads}u; t++) { top = max(top, largest[t]); }
	// With P and Q the sums of exp(logit − top): KL = Σ exp(a) · (a − b) / P − log P + log Q.
	var p = 0.0;
	var q = 0.0;
	var apart = 0.0;
	for (var i = thread; i < size.z; i += ${threads}u) {
		let a = clean[base + i] - top.x;
		let b = changed[base + i] - top.y;
		let weight = exp(a);
		p += weight;
		q += exp(b);
		apart += weight * (a - b);
	}
	let all_p = workgroup_sum(thread, p);
	let all_q = workgroup_sum(thread, q);
	let all_apart = workgroup_sum(thread, apart);
	if (thread == 0u) {
		// Rounding alone could make it negative.
		divergences[size.x + row] = max(0.0, all_apart / all_p - log(all_p / all_q));
	}
}
`;
}
