/**
 * Bounds that decide which pre-activations are kept: of a row's k largest, or of a batch's. All exact, by digits of the
 * bits of positive floats, which keep their order as integers. A bound is (bits, how many of the values equal to it are
 * kept).
 */
import { GROUP_INDEX, POSITIVE_KEY, packed, STEP_PARAMS } from "./wgsl.ts";

/** Head of the kernels that look at a chunk's pre-activations: step uniform, chunk uniform, pre [rows, stride]. */
export const PRE_ACTIVATIONS = /* wgsl */ `
${STEP_PARAMS}
${POSITIVE_KEY}
struct Chunk { first_row: u32, rows: u32, d_sae: u32, stride: u32 }
@group(0) @binding(0) var<uniform> step: Step;
@group(0) @binding(1) var<uniform> chunk: Chunk;
@group(0) @binding(2) var<storage, read> pre: array<f32>;
`;

const BINS = 256;

/**
 * For every row and level, the bound of its `needs[level]` largest positive pre-activations, expressions of the step.
 * Bindings: step uniform, uniform { first row, rows, d_sae, stride }, pre, bounds [rows, levels]. One workgroup per row.
 */
export function rowBounds(shape: { needs: readonly string[]; threads: number }): string {
	const { needs, threads } = shape;
	const levels = needs.length;
	return /* wgsl */ `
${GROUP_INDEX}
${PRE_ACTIVATIONS}
@group(0) @binding(3) var<storage, read_write> bounds: array<vec2u>;
var<workgroup> bins: array<atomic<u32>, ${BINS}>;
var<workgroup> found: vec2u;

@compute @workgroup_size(${threads})
fn main(@builtin(workgroup_id) group: vec3u, @builtin(num_workgroups) groups: vec3u, @builtin(local_invocation_index) thread: u32) {
	let chunk_row = group_index(group, groups);
	if (chunk_row >= chunk.rows) { return; }
	let row = chunk.first_row + chunk_row;
	if (row >= step.rows) { return; }
	let base = chunk_row * chunk.stride;
	for (var level = 0u; level < ${levels}u; level++) {
		var need = 0u;
		${needs.map((need, level) => `if (level == ${level}u) { need = ${need}; }`).join(" ")}
		var prefix = 0u;
		for (var digit = 0u; digit < 4u; digit++) {
			let shift = 24u - 8u * digit;
			for (var bin = thread; bin < ${BINS}u; bin += ${threads}u) { atomicStore(&bins[bin], 0u); }
			workgroupBarrier();
			for (var latent = thread; latent < chunk.d_sae; latent += ${threads}u) {
				let mine = key(pre[base + latent]);
				if (mine > 0u && (digit == 0u || (mine >> (shift + 8u)) == prefix)) { atomicAdd(&bins[(mine >> shift) & 255u], 1u); }
			}
			workgroupBarrier();
			if (thread == 0u) {
				var left = need;
				if (digit == 0u) {
					var positive = 0u;
					for (var bin = 0u; bin < ${BINS}u; bin++) { positive += atomicLoad(&bins[bin]); }
					left = min(left, positive);
				}
				var bin = ${BINS - 1}u;
				while (bin > 0u && atomicLoad(&bins[bin]) < left) { left -= atomicLoad(&bins[bin]); bin--; }
				found = vec2u((prefix << 8u) | bin, left);
			}
			let digits = workgroupUniformLoad(&found);
			prefix = digits.x;
			need = digits.y;
		}
		// Without a single positive value nothing is kept.
		if (thread == 0u) { bounds[row * ${levels}u + level] = vec2u(select(prefix, 0xffffffffu, need == 0u), need); }
	}
}
`;
}

/** Bits of each of the three digits of a batch's bound, from the top. */
const DIGITS = [
	{ shift: 20, bits: 11 },
	{ shift: 10, bits: 10 },
	{ shift: 0, bits: 10 },
] as const;
export const BATCH_DIGITS = DIGITS.length;
const BATCH_BINS = 2048;

/** Elements of the buffer in which a batch's bound is found: prefix, how many equal ones are kept, then bins. */
export const BATCH_BOUND = { prefix: 0, need: 1, bins: 2, length: 2 + BATCH_BINS } as const;

/**
 * Counts digits of the batch's positive pre-activations that share the digits found before.
 * Bindings: step uniform, uniform { first row, rows, d_sae, stride }, pre, maxima [rows, stride / 4], bound. One
 * workgroup per row.
 */
export function countDigits(digit: number, threads: number): string {
	const { shift, bits } = DIGITS[digit]!;
	return /* wgsl */ `
${GROUP_INDEX}
${PRE_ACTIVATIONS}
@group(0) @binding(3) var<storage, read> maxima: array<f32>;
@group(0) @binding(4) var<storage, read_write> bound: array<atomic<u32>>;
var<workgroup> bins: array<atomic<u32>, ${BATCH_BINS}>;

@compute @workgroup_size(${threads})
fn main(@builtin(workgroup_id) group: vec3u, @builtin(num_workgroups) groups: vec3u, @builtin(local_invocation_index) thread: u32) {
	let chunk_row = group_index(group, groups);
	if (chunk_row >= chunk.rows || chunk.first_row + chunk_row >= step.rows) { return; }
	let prefix = atomicLoad(&bound[${BATCH_BOUND.prefix}]);
	for (var bin = thread; bin < ${1 << bits}u; bin += ${threads}u) { atomicStore(&bins[bin], 0u); }
	workgroupBarrier();
	for (var quad = thread; quad < chunk.stride / 4u; quad += ${threads}u) {
		let largest = key(maxima[chunk_row * (chunk.stride / 4u) + quad]);
		if (largest == 0u ${digit > 0 ? `|| (largest >> ${shift + bits}u) < prefix` : ""}) { continue; }
		for (var latent = quad * 4u; latent < min(quad * 4u + 4u, chunk.d_sae); latent++) {
			let mine = key(pre[chunk_row * chunk.stride + latent]);
			if (mine > 0u ${digit > 0 ? `&& (mine >> ${shift + bits}u) == prefix` : ""}) { atomicAdd(&bins[(mine >> ${shift}u) & ${(1 << bits) - 1}u], 1u); }
		}
	}
	workgroupBarrier();
	for (var bin = thread; bin < ${1 << bits}u; bin += ${threads}u) {
		let count = atomicLoad(&bins[bin]);
		if (count > 0u) { atomicAdd(&bound[${BATCH_BOUND.bins}u + bin], count); }
	}
}
`;
}

/**
 * Picks the digit of the batch's step.k[term] · rows largest and clears the bins. Bindings: step uniform of the whole
 * batch, bound.
 */
export function pickDigit(digit: number, term: number): string {
	const { bits } = DIGITS[digit]!;
	return /* wgsl */ `
${STEP_PARAMS}
@group(0) @binding(0) var<uniform> step: Step;
@group(0) @binding(1) var<storage, read_write> bound: array<u32>;
var<workgroup> sums: array<u32, 64>;

@compute @workgroup_size(64)
fn main(@builtin(local_invocation_index) thread: u32) {
	_ = step.rows; // read only for the first digit
	let run = ${(1 << bits) / 64}u;
	var own = 0u;
	for (var i = 0u; i < run; i++) { own += bound[${BATCH_BOUND.bins}u + thread * run + i]; }
	sums[thread] = own;
	workgroupBarrier();
	if (thread == 0u) {
		var left = ${digit === 0 ? `${packed("step.k", term)} * step.rows` : `bound[${BATCH_BOUND.need}]`};
		${digit === 0 ? "var positive = 0u; for (var t = 0u; t < 64u; t++) { positive += sums[t]; } left = min(left, positive);" : ""}
		var t = 63u;
		while (t > 0u && sums[t] < left) { left -= sums[t]; t--; }
		var bin = (t + 1u) * run - 1u;
		while (bin > t * run && bound[${BATCH_BOUND.bins}u + bin] < left) { left -= bound[${BATCH_BOUND.bins}u + bin]; bin--; }
		bound[${BATCH_BOUND.prefix}] = ${digit === 0 ? "bin" : `(bound[${BATCH_BOUND.prefix}] << ${bits}u) | bin`};
		bound[${BATCH_BOUND.need}] = left;
		${digit === DIGITS.length - 1 ? `if (left == 0u) { bound[${BATCH_BOUND.prefix}] = 0xffffffffu; }` : ""}
	}
	workgroupBarrier();
	for (var i = 0u; i < run; i++) { bound[${BATCH_BOUND.bins}u + thread * run + i] = 0u; }
}
`;
}

/** How many values of each row equal the bound. Bindings as {@link countDigits}, with equals [rows] at the end. */
export function countEquals(threads: number): string {
	return /* wgsl */ `
${GROUP_INDEX}
${PRE_ACTIVATIONS}
@group(0) @binding(3) var<storage, read> maxima: array<f32>;
@group(0) @binding(4) var<storage, read> bound: array<u32>;
@group(0) @binding(5) var<storage, read_write> equals: array<u32>;
var<workgroup> counted: atomic<u32>;

@compute @workgroup_size(${threads})
fn main(@builtin(workgroup_id) group: vec3u, @builtin(num_workgroups) groups: vec3u, @builtin(local_invocation_index) thread: u32) {
	let chunk_row = group_index(group, groups);
	if (chunk_row >= chunk.rows) { return; }
	let row = chunk.first_row + chunk_row;
	if (row >= step.rows) { return; }
	let wanted = bound[${BATCH_BOUND.prefix}];
	if (thread == 0u) { atomicStore(&counted, 0u); }
	workgroupBarrier();
	for (var quad = thread; quad < chunk.stride / 4u; quad += ${threads}u) {
		if (key(maxima[chunk_row * (chunk.stride / 4u) + quad]) < wanted) { continue; }
		for (var latent = quad * 4u; latent < min(quad * 4u + 4u, chunk.d_sae); latent++) {
			if (key(pre[chunk_row * chunk.stride + latent]) == wanted) { atomicAdd(&counted, 1u); }
		}
	}
	workgroupBarrier();
	if (thread == 0u) { equals[row] = atomicLoad(&counted); }
}
`;
}

/**
 * The batch's bound as bounds of rows: earlier rows keep equal values first. Bindings: step uniform, bound, before
 * [rows + 1], bounds [rows], taken (equal values in earlier micro-batches).
 */
export const SHARE_BOUND = /* wgsl */ `
${STEP_PARAMS}
${GROUP_INDEX}
@group(0) @binding(0) var<uniform> step: Step;
@group(0) @binding(1) var<storage, read> bound: array<u32>;
@group(0) @binding(2) var<storage, read> before: array<u32>;
@group(0) @binding(3) var<storage, read_write> bounds: array<vec2u>;
@group(0) @binding(4) var<storage, read> taken: array<u32>;

@compute @workgroup_size(64)
fn main(@builtin(workgroup_id) group: vec3u, @builtin(num_workgroups) groups: vec3u, @builtin(local_invocation_index) thread: u32) {
	let row = group_index(group, groups) * 64u + thread;
	if (row >= step.rows) { return; }
	let need = bound[${BATCH_BOUND.need}];
	bounds[row] = vec2u(bound[${BATCH_BOUND.prefix}], need - min(need, taken[0] + before[row]));
}
`;

/** Equal values of these rows are taken too. Bindings: step uniform, before [rows + 1], taken. */
export const TAKE_EQUALS = /* wgsl */ `
${STEP_PARAMS}
@group(0) @binding(0) var<uniform> step: Step;
@group(0) @binding(1) var<storage, read> before: array<u32>;
@group(0) @binding(2) var<storage, read_write> taken: array<u32>;

@compute @workgroup_size(1)
fn main() { taken[0] += before[step.rows]; }
`;
