/** Pieces of WGSL that several kernels share. */

/** The linear workgroup number, of a grid that `dispatch` may have folded over y. */
export const GROUP_INDEX = /* wgsl */ `
fn group_index(group: vec3u, groups: vec3u) -> u32 { return group.y * groups.x + group.x; }
`;

/** Per-step numbers, written by the host before each submit; every training kernel binds the same uniform. */
export const STEP_PARAMS = /* wgsl */ `
struct Step {
	rows: u32,        // rows of this batch
	dead_after: u32,  // tokens without firing after which a latent counts as dead
	lr: f32,
	beta1: f32,
	beta2: f32,
	epsilon: f32,
	correct1: f32,    // 1 / (1 - beta1^t)
	correct2: f32,    // 1 / sqrt(1 - beta2^t)
	clip: f32,        // largest global gradient norm; 0: no clipping
	input_scale: f32, // what rows are multiplied by on arrival
	unused0: u32,
	unused1: u32,
	k: vec4u,         // latents kept per row, by loss term
}
`;
export const STEP_PARAMS_BYTES = 64;

/** What of {@link STEP_PARAMS} a host sets; what it leaves out is 0, as for a step that only encodes. */
export interface StepValues {
	readonly rows: number;
	readonly input_scale: number;
	readonly k: readonly number[];
	readonly dead_after?: number;
	readonly lr?: number;
	readonly beta1?: number;
	readonly beta2?: number;
	readonly epsilon?: number;
	readonly correct1?: number;
	readonly correct2?: number;
	readonly clip?: number;
}

/** The bytes of {@link STEP_PARAMS}. */
export function packStep(values: StepValues): Uint32Array<ArrayBuffer> {
	const { rows, dead_after = 0, lr = 0, beta1 = 0, beta2 = 0, epsilon = 0 } = values;
	const { correct1 = 0, correct2 = 0, clip = 0, input_scale, k } = values;
	const words = new Uint32Array(STEP_PARAMS_BYTES / 4);
	words.set([rows, dead_after]);
	const floats = [lr, beta1, beta2, epsilon, correct1, correct2, clip, input_scale];
	new Float32Array(words.buffer).set(floats, 2);
	words.set(k, 12);
	return words;
}

/**
 * An entry point with a thread per latent below `size.x`, a uniform that the kernel declares; `body` knows its own
 * as `latent`.
 */
export function eachLatent(body: string): string {
	return /* wgsl */ `
${GROUP_INDEX}
@compute @workgroup_size(64)
fn main(@builtin(workgroup_id) group: vec3u, @builtin(num_workgroups) groups: vec3u, @builtin(local_invocation_index) thread: u32) {
	let latent = group_index(group, groups) * 64u + thread;
	if (latent >= size.x) { return; }
	${body}
}
`;
}

/**
 * Sums one f32 per thread over a workgroup of `size` (a power of two), always in the same order.
 * Every thread must call it; every thread gets the sum.
 */
export function workgroupSum(size: number): string {
	return /* wgsl */ `
var<workgroup> sum_scratch: array<f32, ${size}>;
fn workgroup_sum(thread: u32, value: f32) -> f32 {
	sum_scratch[thread] = value;
	workgroupBarrier();
	for (var half = ${size / 2}u; half > 0u; half >>= 1u) {
		if (thread < half) { sum_scratch[thread] += sum_scratch[thread + half]; }
		workgroupBarrier();
	}
	let total = sum_scratch[0];
	workgroupBarrier();
	return total;
}
`;
}

/** `x != x` is folded away by WGSL compilers; the bits are not. */
export const IS_FINITE = /* wgsl */ `
fn is_finite(x: f32) -> bool { return (bitcast<u32>(x) & 0x7f800000u) != 0x7f800000u; }
`;

/** Text repeated for i = 0 … count − 1: WGSL has no unrolling of its own. */
export function unroll(count: number, text: (i: number) => string): string {
	return Array.from({ length: count }, (_, i) => text(i)).join("\n");
}
