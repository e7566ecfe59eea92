/** Norms of decoder rows, whole or as the sum over blocks of columns. */
import { GROUP_INDEX, workgroupSum } from "./wgsl.ts";

/**
 * Bindings: uniform { first latent, latents }, W_dec shard [latents, width], norms [latents], inverse [latents, blocks].
 * norms = Σ over blocks of the block's norm; inverse is 1 over each, 0 for a block of zeros. A workgroup per latent.
 */
export function decoderNorms(shape: {
	width: number;
	d_out: number;
	blocks: number;
	threads: number;
}): string {
	const { width, d_out, blocks, threads } = shape;
	return /* wgsl */ `
${GROUP_INDEX}
${workgroupSum(threads)}
@group(0) @binding(0) var<uniform> part: vec4u;
@group(0) @binding(1) var<storage, read> weights: array<f32>;
@group(0) @binding(2) var<storage, read_write> norms: array<f32>;
@group(0) @binding(3) var<storage, read_write> inverse: array<f32>;

@compute @workgroup_size(${threads})
fn main(@builtin(workgroup_id) group: vec3u, @builtin(num_workgroups) groups: vec3u, @builtin(local_invocation_index) thread: u32) {
	let row = group_index(group, groups);
	if (row >= part.y) { return; }
	let latent = part.x + row;
	var total = 0.0;
	for (var block = 0u; block < ${blocks}u; block++) {
		var mine = 0.0;
		for (var i = thread; i < ${d_out / blocks}u; i += ${threads}u) {
			let weight = weights[row * ${width}u + block * ${d_out / blocks}u + i];
			mine += weight * weight;
		}
		let norm = sqrt(workgroup_sum(thread, mine));
		total += norm;
		if (thread == 0u) { inverse[latent * ${blocks}u + block] = select(0.0, 1.0 / norm, norm > 0.0); }
	}
	if (thread == 0u) { norms[latent] = total; }
}
`;
}
