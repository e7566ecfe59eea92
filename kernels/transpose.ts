/**
 * Codes by row → codes by latent, without sorting the whole and without float atomics. Counting gives every latent its
 * range; entries arrive there in any order, and are then put in order (order.ts).
 */
import { eachLatent, GROUP_INDEX } from "./wgsl.ts";

const ROW_THREADS = 64;

/**
 * Bindings: span, index, counts [latents] (zero before), rank [entries], uniform { code rows }.
 * counts[i] = entries of latent i; rank[e] = a distinct number below it. One workgroup per code row.
 */
export const COUNT_ENTRIES = /* wgsl */ `
${GROUP_INDEX}
@group(0) @binding(0) var<storage, read> span: array<vec2u>;
@group(0) @binding(1) var<storage, read> index: array<u32>;
@group(0) @binding(2) var<storage, read_write> counts: array<atomic<u32>>;
@group(0) @binding(3) var<storage, read_write> rank: array<u32>;
@group(0) @binding(4) var<uniform> size: vec4u;

@compute @workgroup_size(${ROW_THREADS})
fn main(@builtin(workgroup_id) group: vec3u, @builtin(num_workgroups) groups: vec3u, @builtin(local_invocation_index) thread: u32) {
	let v = group_index(group, groups);
	if (v >= size.x) { return; }
	let entries = span[v];
	for (var e = entries.x + thread; e < entries.y; e += ${ROW_THREADS}u) { rank[e] = atomicAdd(&counts[index[e]], 1u); }
}
`;

/** Bindings: span, index, offsets [latents + 1], rank, arrived [entries] (row, entry), uniform { code rows }. */
export const SCATTER_ENTRIES = /* wgsl */ `
${GROUP_INDEX}
@group(0) @binding(0) var<storage, read> span: array<vec2u>;
@group(0) @binding(1) var<storage, read> index: array<u32>;
@group(0) @binding(2) var<storage, read> offsets: array<u32>;
@group(0) @binding(3) var<storage, read> rank: array<u32>;
@group(0) @binding(4) var<storage, read_write> arrived: array<vec2u>;
@group(0) @binding(5) var<uniform> size: vec4u;

@compute @workgroup_size(${ROW_THREADS})
fn main(@builtin(workgroup_id) group: vec3u, @builtin(num_workgroups) groups: vec3u, @builtin(local_invocation_index) thread: u32) {
	let v = group_index(group, groups);
	if (v >= size.x) { return; }
	let entries = span[v];
	for (var e = entries.x + thread; e < entries.y; e += ${ROW_THREADS}u) { arrived[offsets[index[e]] + rank[e]] = vec2u(v, e); }
}
`;

/**
 * How many segments each latent's list has: none while one workgroup can sum it.
 * Bindings: offsets [latents + 1], counts [latents], uniform { latents, segment length }. A thread per latent.
 */
export const COUNT_SEGMENTS = /* wgsl */ `
@group(0) @binding(0) var<storage, read> offsets: array<u32>;
@group(0) @binding(1) var<storage, read_write> counts: array<u32>;
@group(0) @binding(2) var<uniform> size: vec4u;

${eachLatent(`
	let length = offsets[latent + 1u] - offsets[latent];
	counts[latent] = select(0u, (length + size.y - 1u) / size.y, length > size.y);
`)}
`;

/** Bindings: segment offsets [latents + 1], segment latents, uniform { latents }. A thread per latent. */
export const LIST_SEGMENTS = /* wgsl */ `
@group(0) @binding(0) var<storage, read> segment_offsets: array<u32>;
@group(0) @binding(1) var<storage, read_write> segment_latents: array<u32>;
@group(0) @binding(2) var<uniform> size: vec4u;

${eachLatent(`
	let end = segment_offsets[latent + 1u];
	for (var segment = segment_offsets[latent]; segment < end; segment++) { segment_latents[segment] = latent; }
`)}
`;
