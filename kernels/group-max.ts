/** The largest positive pre-activation of every run of latents (lowest latent first where some are equal). */
import { GROUP_INDEX, STEP_PARAMS } from "./wgsl.ts";

/**
 * Bindings: step uniform, uniform { first row, rows, first code row, first entry, d_sae, stride, groups }, pre [rows,
 * stride], index, value, span. One workgroup per row; the row's entries start at row · groups, by ascending latent.
 */
export function selectGroupMax(threads: number): string {
	return /* wgsl */ `
${STEP_PARAMS}
${GROUP_INDEX}
struct Chunk { first_row: u32, rows: u32, code_row: u32, entry: u32, d_sae: u32, stride: u32, groups: u32, unused: u32 }
@group(0) @binding(0) var<uniform> step: Step;
@group(0) @binding(1) var<uniform> chunk: Chunk;
@group(0) @binding(2) var<storage, read> pre: array<f32>;
@group(0) @binding(3) var<storage, read_write> index: array<u32>;
@group(0) @binding(4) var<storage, read_write> value: array<f32>;
@group(0) @binding(5) var<storage, read_write> span: array<vec2u>;
var<workgroup> found: array<u32, ${threads}>;

@compute @workgroup_size(${threads})
fn main(@builtin(workgroup_id) group: vec3u, @builtin(num_workgroups) groups: vec3u, @builtin(local_invocation_index) thread: u32) {
	let chunk_row = group_index(group, groups);
	let row = chunk.first_row + chunk_row;
	if (chunk_row >= chunk.rows || row >= step.rows) { return; }
	let size = chunk.d_sae / chunk.groups;
	// Each thread owns a run of groups, so that entries lie in order.
	let run = (chunk.groups + ${threads - 1}u) / ${threads}u;
	let from_ = min(thread * run, chunk.groups);
	let to = min(from_ + run, chunk.groups);
	var kept = 0u;
	for (var pass_ = 0u; pass_ < 2u; pass_++) {
		var place = chunk.entry + row * chunk.groups;
		for (var t = 0u; t < thread && pass_ == 1u; t++) { place += found[t]; }
		for (var g = from_; g < to; g++) {
			var best = 0.0;
			var at = 0u;
			for (var i = g * size; i < (g + 1u) * size; i++) {
				let z = pre[chunk_row * chunk.stride + i];
				if (z > best) { best = z; at = i; }
			}
			if (best > 0.0) {
				if (pass_ == 0u) {
					kept++;
				} else {
					index[place] = at;
					value[place] = best;
					place++;
				}
			}
		}
		if (pass_ == 0u) { found[thread] = kept; }
		workgroupBarrier();
	}
	if (thread == 0u) {
		var total = 0u;
		for (var t = 0u; t < ${threads}u; t++) { total += found[t]; }
		let first = chunk.entry + row * chunk.groups;
		span[chunk.code_row + row] = vec2u(first, first + total);
	}
}
`;
}
