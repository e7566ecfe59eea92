/** Rotary position embedding (RoPE, Su et al. 2021, as transformers lays it out: halves, not neighbours). */
import { GROUP_INDEX } from "../wgsl.ts";

const THREADS = 64;

/**
 * Bindings: uniform { heads, d_head, rotated dimensions / 2, stride }, positions [rows], table [positions, half] of (cos,
 * sin), x [rows, stride]. In each head the numbers i and i + half turn by their angle. A thread per pair.
 */
export const ROTATE_HEADS = /* wgsl */ `
${GROUP_INDEX}
@group(0) @binding(0) var<uniform> size: vec4u;
@group(0) @binding(1) var<storage, read> positions: array<u32>;
@group(0) @binding(2) var<storage, read> table: array<vec2f>;
@group(0) @binding(3) var<storage, read_write> x: array<f32>;

@compute @workgroup_size(${THREADS})
fn main(@builtin(workgroup_id) group: vec3u, @builtin(num_workgroups) groups: vec3u, @builtin(local_invocation_index) thread: u32) {
	let i = group_index(group, groups) * ${THREADS}u + thread;
	let row = i / (size.x * size.z);
	if (row >= arrayLength(&positions)) { return; }
	let head = i / size.z % size.x;
	let pair = i % size.z;
	let turn = table[positions[row] * size.z + pair];
	let at = row * size.w + head * size.y + pair;
	let a = x[at];
	let b = x[at + size.z];
	x[at] = a * turn.x - b * turn.y;
	x[at + size.z] = b * turn.x + a * turn.y;
}
`;

export function rotateGroups(rows: number, heads: number, half: number): number {
	return Math.ceil((rows * heads * half) / THREADS);
}
