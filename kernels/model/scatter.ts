/** Rows put where a table says: new keys and values into a cache. */
import { GROUP_INDEX } from "../wgsl.ts";

/** Bindings: uniform { rows, stride / 4 }, places [rows], in [rows, stride], out. out[place] = in[row]. A workgroup per row. */
export function scatterRows(threads: number): string {
	return /* wgsl */ `
${GROUP_INDEX}
@group(0) @binding(0) var<uniform> size: vec4u;
@group(0) @binding(1) var<storage, read> places: array<u32>;
@group(0) @binding(2) var<storage, read> source: array<vec4f>;
@group(0) @binding(3) var<storage, read_write> out: array<vec4f>;

@compute @workgroup_size(${threads})
fn main(@builtin(workgroup_id) group: vec3u, @builtin(num_workgroups) groups: vec3u, @builtin(local_invocation_index) thread: u32) {
	let row = group_index(group, groups);
	if (row >= size.x) { return; }
	for (var i = thread; i < size.y; i += ${threads}u) { out[places[row] * size.y + i] = source[row * size.y + i]; }
}
`;
}
