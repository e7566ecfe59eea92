/** Cross-entropy of each row of logits against the token that came. */
import { GROUP_INDEX, workgroupSum } from "../wgsl.ts";

/** No token came after this row. */
export const NO_TARGET = 0xffffffff;

/**
 * Bindings: uniform { first row, rows, vocabulary, stride }, logits [rows, stride], targets, losses (both by row, from
 * the first). loss = log Σ exp(logit) − logit of the target, in nats; 0 without one. A workgroup per row.
 */
export function tokenLosses(threads: number): string {
	return /* wgsl */ `
${GROUP_INDEX}
${workgroupSum(threads)}
@group(0) @binding(0) var<uniform> size: vec4u;
@group(0) @binding(1) var<storage, read> logits: array<f32>;
@group(0) @binding(2) var<storage, read> targets: array<u32>;
@group(0) @binding(3) var<storage, read_write> losses: array<f32>;
var<workgroup> largest: array<f32, ${threads}>;

@compute @workgroup_size(${threads})
fn main(@builtin(workgroup_id) group: vec3u, @builtin(num_workgroups) groups: vec3u, @builtin(local_invocation_index) thread: u32) {
	let row = group_index(group, groups);
	if (row >= size.y) { return; }
	let base = row * size.w;
	var own = -3e38;
	for (var i = thread; i < size.z; i += ${threads}u) { own = max(own, logits[base + i]); }
	largest[thread] = own;
	workgroupBarrier();
	var top = largest[0];
	for (var t = 1u; t < ${threads}u; t++) { top = max(top, largest[t]); }
	var mine = 0.0;
	for (var i = thread; i < size.z; i += ${threads}u) { mine += exp(logits[base + i] - top); }
	let total = workgroup_sum(thread, mine);
	if (thread == 0u) {
		let wanted = targets[size.x + row];
		// The target's exists where there is one; the index is kept in bounds where there is none.
		let chosen = logits[base + min(wanted, size.z - 1u)];
		losses[size.x + row] = select(top + log(total) - chosen, 0.0, wanted == ${NO_TARGET}u);
	}
}
`;
}
