/** Pieces of WGSL that several kernels share. */

/** The linear workgroup number, of a grid that `dispatch` may have folded over y. */
export const GROUP_INDEX = /* wgsl */ `
fn group_index(group: vec3u, groups: vec3u) -> u32 { return group.y * groups.x + group.x; }
`;

/** Loss terms that one step can hold. */
export const MAX_TERMS = 8;
/** Blocks of code rows, one per row of the batch: a term has one, a nested term one for each part. */
export const MAX_BLOCKS = 16;
/** Numbers that formulas name. */
export const MAX_SCALARS = 8;

/** Per-step numbers, written by the host before each submit; every training kernel binds the same uniform. */
export const STEP_PARAMS = /* wgsl */ `
struct Step {
	rows: u32,        // rows of this batch
	dead_after: u32,  // tokens without firing after which a latent counts as dead
	update: u32,      // updates made, this one included; 0: the step only looks
	seed: u32,        // of what is drawn at random
	lr: f32,
	beta1: f32,
	beta2: f32,
	epsilon: f32,
	correct1: f32,    // 1 / (1 - beta1^t)
	correct2: f32,    // 1 / sqrt(1 - beta2^t)
	clip: f32,        // largest global gradient norm; 0: no clipping
	input_scale: f32, // what rows are multiplied by on arrival
	target_l0: f32,   // what the L0 controller steers to; 0: nothing
	tilt: f32,        // of tilted empirical risk; 0: none
	ema: f32,         // decay of the averaged weights
	target_scale: f32, // what targets are multiplied by on arrival
	k: array<vec4u, ${MAX_TERMS / 4}>,          // latents kept per row, by loss term
	below: array<vec4u, ${MAX_BLOCKS / 4}>,      // by block: the end of its range of latents, or the rank it ends at
	scalars: array<vec4f, ${MAX_SCALARS / 4}>,
}
`;
export const STEP_PARAMS_BYTES = 64 + 4 * (MAX_TERMS + MAX_BLOCKS + MAX_SCALARS);

/** What of {@link STEP_PARAMS} a host sets; what it leaves out is 0, as for a step that only encodes. */
export interface StepValues {
	readonly rows: number;
	readonly input_scale: number;
	readonly k: readonly number[];
	readonly below?: readonly number[];
	readonly scalars?: readonly number[];
	readonly dead_after?: number;
	readonly update?: number;
	readonly seed?: number;
	readonly lr?: number;
	readonly beta1?: number;
	readonly beta2?: number;
	readonly epsilon?: number;
	readonly correct1?: number;
	readonly correct2?: number;
	readonly clip?: number;
	readonly target_l0?: number;
	readonly tilt?: number;
	readonly ema?: number;
	readonly target_scale?: number;
}

/** The bytes of {@link STEP_PARAMS}. */
export function packStep(values: StepValues): Uint32Array<ArrayBuffer> {
	const { rows, dead_after = 0, update = 0, seed = 0, lr = 0, beta1 = 0, beta2 = 0, epsilon = 0 } = values;
	const { correct1 = 0, correct2 = 0, clip = 0, input_scale, target_l0 = 0, tilt = 0, ema = 0 } = values;
	const { k, below = [], scalars = [], target_scale = input_scale } = values;
	const words = new Uint32Array(STEP_PARAMS_BYTES / 4);
	const floats = new Float32Array(words.buffer);
	words.set([rows, dead_after, update, seed]);
	floats.set([lr, beta1, beta2, epsilon, correct1, correct2, clip, input_scale], 4);
	floats.set([target_l0, tilt, ema, target_scale], 12);
	words.set(k, 16);
	words.set(below, 16 + MAX_TERMS);
	floats.set(scalars, 16 + MAX_TERMS + MAX_BLOCKS);
	return words;
}

/** Reads number `i`, known when the text is made, of an array that a uniform holds as vectors of four. */
export function packed(array: string, i: number): string {
	return `${array}[${Math.floor(i / 4)}][${i % 4}]`;
}

/** A WGSL float literal. */
export function literal(value: number): string {
	const text = String(value);
	return /[.e]/.test(text) ? text : `${text}.0`;
}

/**
 * An entry point with a thread per latent below `count`, a number of a uniform that the kernel declares; `body` knows
 * its own as `latent`.
 */
export function eachLatent(body: string, count = "size.x"): string {
	return /* wgsl */ `
${GROUP_INDEX}
@compute @workgroup_size(64)
fn main(@builtin(workgroup_id) group: vec3u, @builtin(num_workgroups) groups: vec3u, @builtin(local_invocation_index) thread: u32) {
	let latent = group_index(group, groups) * 64u + thread;
	if (latent >= ${count}) { return; }
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

/** Positive floats keep their order as integers; what ReLU would drop becomes 0. */
export const POSITIVE_KEY = /* wgsl */ `
fn key(value: f32) -> u32 { return select(bitcast<u32>(value), 0u, bitcast<u32>(value) > 0x7fffffffu); }
`;

/** Text repeated for i = 0 … count − 1: WGSL has no unrolling of its own. */
export function unroll(count: number, text: (i: number) => string): string {
	return Array.from({ length: count }, (_, i) => text(i)).join("\n");
}
