/** Rows of a table by number: token and position embeddings. */
import { GROUP_INDEX, literal } from "../wgsl.ts";
import { readFour, type WeightFormat } from "./unpack.ts";

/**
 * Bindings: uniform { first row of the shard, its rows, stride / 4 }, ids [rows], table shard [rows, stride], out [rows,
 * stride]. out[row] = scale · table[id]; rows whose id lies in another shard stay as they are. A workgroup per row.
 */
export function gatherRows(format: WeightFormat, scale: number, threads: number): string {
	return /* wgsl */ `
${GROUP_INDEX}
@group(0) @binding(0) var<uniform> part: vec4u;
@group(0) @binding(1) var<storage, read> ids: array<u32>;
@group(0) @binding(2) var<storage, read> table: array<${format === "f32" ? "vec4f" : "vec2u"}>;
@group(0) @binding(3) var<storage, read_write> out: array<vec4f>;

@compute @workgroup_size(${threads})
fn main(@builtin(workgroup_id) group: vec3u, @builtin(num_workgroups) groups: vec3u, @builtin(local_invocation_index) thread: u32) {
	let row = group_index(group, groups);
	if (row >= arrayLength(&ids)) { return; }
	let id = ids[row];
	if (id < part.x || id >= part.x + part.y) { return; }
	for (var i = thread; i < part.z; i += ${threads}u) {
		let value = table[(id - part.x) * part.z + i];
		out[row * part.z + i] = ${literal(scale)} * ${readFour(format, "value")};
	}
}
`;
}
