/** The dead latents' encoders side by side, so that they can be multiplied with rows by themselves. */
import { GROUP_INDEX } from "./wgsl.ts";

const THREADS = 64;
/** Latents per workgroup. */
export const GATHERED = 8;

/**
 * Bindings: uniform { first latent and latents of the shard that is read, first place and places of the one that is
 * written, width / 4 }, list { count, latents… }, W_enc shard, b_enc, gathered W_enc [places, width], gathered b_enc
 * [all places].
 */
export const GATHER_DEAD = /* wgsl */ `
${GROUP_INDEX}
struct Part { start: u32, count: u32, first: u32, places: u32, pitch: u32, unused0: u32, unused1: u32, unused2: u32 }
@group(0) @binding(0) var<uniform> part: Part;
@group(0) @binding(1) var<storage, read> list: array<u32>;
@group(0) @binding(2) var<storage, read> w_enc: array<vec4f>;
@group(0) @binding(3) var<storage, read> b_enc: array<f32>;
@group(0) @binding(4) var<storage, read_write> w_dead: array<vec4f>;
@group(0) @binding(5) var<storage, read_write> b_dead: array<f32>;

@compute @workgroup_size(${THREADS})
fn main(@builtin(workgroup_id) group: vec3u, @builtin(num_workgroups) groups: vec3u, @builtin(local_invocation_index) thread: u32) {
	let begin = part.first + group_index(group, groups) * ${GATHERED}u;
	let end = min(min(begin + ${GATHERED}u, part.first + part.places), list[0]);
	for (var place = begin; place < end; place++) {
		let latent = list[1u + place];
		if (latent < part.start || latent >= part.start + part.count) { continue; }
		let from_ = (latent - part.start) * part.pitch;
		let to = (place - part.first) * part.pitch;
		for (var column = thread; column < part.pitch; column += ${THREADS}u) { w_dead[to + column] = w_enc[from_ + column]; }
		if (thread == 0u) { b_dead[place] = b_enc[latent]; }
	}
}
`;
