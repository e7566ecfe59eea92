/**
 * Bounds of each latent's largest pre-activations over a batch, by the bits of positive floats, as in bounds.ts: (bits,
 * the row before which equal values are kept). At once where all pre-activations lie in memory; else by digits, of
 * which every micro-batch counts its own.
 */
import { PRE_ACTIVATIONS } from "./bounds.ts";
import { eachLatent, GROUP_INDEX, STEP_PARAMS } from "./wgsl.ts";

export const LATENTS_PER_GROUP = 32;
const LANES = 8;

/** Codes that a latent gets of the batch: its quota of the step's rows, rounded by a draw. */
const NEED = /* wgsl */ `
// PCG (O'Neill 2014) on what makes the draw: a number from 0 to 1.
fn draw(latent: u32) -> f32 {
	var state = latent * 747796405u + step.update * 2891336453u + step.seed * 277803737u + 1u;
	state = ((state >> ((state >> 28u) + 4u)) ^ state) * 277803737u;
	return f32(((state >> 22u) ^ state) >> 8u) / 16777216.0;
}
fn need_of(latent: u32) -> u32 { return min(u32(floor(quota[latent] * f32(step.rows) + draw(latent))), step.rows); }
`;

/**
 * For every latent, the bound of its largest positive pre-activations over the batch: as many as its quota times rows,
 * rounded by a draw that follows from seed, update and latent.
 * Bindings: step uniform, uniform { first row, rows, d_sae, stride }, pre, quota [d_sae], bounds [d_sae].
 * Workgroups of {@link LATENTS_PER_GROUP} latents, whose rows are shared by lanes; the chunk must hold the whole batch.
 */
export const LATENT_BOUNDS = /* wgsl */ `
${GROUP_INDEX}
${PRE_ACTIVATIONS}
@group(0) @binding(3) var<storage, read> quota: array<f32>;
@group(0) @binding(4) var<storage, read_write> bounds: array<vec2u>;

${NEED}

var<workgroup> counted: array<u32, ${LATENTS_PER_GROUP * LANES}>;
var<workgroup> agreed: array<u32, ${LATENTS_PER_GROUP}>;

// Values of the latent that reach these bits, over all lanes; every thread of the workgroup must call it.
fn reaching(thread: u32, latent: u32, bits: u32) -> u32 {
	let lane = thread / ${LATENTS_PER_GROUP}u;
	var reach = 0u;
	if (latent < chunk.d_sae) {
		for (var row = lane; row < step.rows; row += ${LANES}u) { reach += select(0u, 1u, key(pre[row * chunk.stride + latent]) >= bits); }
	}
	counted[thread] = reach;
	workgroupBarrier();
	if (lane == 0u) {
		for (var other = 1u; other < ${LANES}u; other++) { reach += counted[other * ${LATENTS_PER_GROUP}u + thread]; }
		agreed[thread] = reach;
	}
	workgroupBarrier();
	return agreed[thread % ${LATENTS_PER_GROUP}u];
}

@compute @workgroup_size(${LATENTS_PER_GROUP * LANES})
fn main(@builtin(workgroup_id) group: vec3u, @builtin(num_workgroups) groups: vec3u, @builtin(local_invocation_index) thread: u32) {
	let latent = group_index(group, groups) * ${LATENTS_PER_GROUP}u + thread % ${LATENTS_PER_GROUP}u;
	var need = 0u;
	if (latent < chunk.d_sae) { need = need_of(latent); }
	// The largest bits that at least as many values reach; 1 if fewer are positive.
	var bound = 0u;
	for (var round = 0u; round < 31u; round++) {
		let probe = bound | (0x40000000u >> round);
		if (reaching(thread, latent, probe) >= need) { bound = probe; }
	}
	bound = max(bound, 1u);
	let above = reaching(thread, latent, bound + 1u);
	if (thread >= ${LATENTS_PER_GROUP}u || latent >= chunk.d_sae) { return; }
	var left = need - min(need, above);
	var end = 0u;
	for (var row = 0u; row < step.rows && left > 0u; row++) {
		if (key(pre[row * chunk.stride + latent]) == bound) { end = row + 1u; left--; }
	}
	bounds[latent] = select(vec2u(bound, end), vec2u(0xffffffffu, 0u), need == 0u);
}
`;

/** Digits of a bound that is found micro-batch by micro-batch, of eight bits each. */
export const LATENT_DIGITS = 4;
/** Counters that each latent needs meanwhile. */
export const LATENT_BINS = 256;
/** Stands for how many are left to find where all positive values are kept. */
const ALL = "0xffffffffu";
const shiftOf = (digit: number) => 8 * (LATENT_DIGITS - 1 - digit);

/**
 * Counts digits of each latent's positive pre-activations that share the digits found before.
 * Bindings: step uniform, uniform { first row, rows, d_sae, stride }, pre, found [latents] (digits, how many are left to
 * find), bins [LATENT_BINS, stride]. A thread per latent.
 */
export function countLatentDigits(digit: number): string {
	const shift = shiftOf(digit);
	return /* wgsl */ `
${PRE_ACTIVATIONS}
@group(0) @binding(3) var<storage, read> found: array<vec2u>;
@group(0) @binding(4) var<storage, read_write> bins: array<u32>;

${eachLatent(
	`
	let prefix = found[latent].x;
	let rows = min(chunk.rows, step.rows - chunk.first_row);
	for (var row = 0u; row < rows; row++) {
		let mine = key(pre[row * chunk.stride + latent]);
		if (mine > 0u ${digit > 0 ? `&& (mine >> ${shift + 8}u) == prefix` : ""}) { bins[((mine >> ${shift}u) & 255u) * chunk.stride + latent]++; }
	}`,
	"chunk.d_sae",
)}
`;
}

/**
 * Picks each latent's digit and clears its bins; after the last one, found holds the bits, as {@link LATENT_BOUNDS} has
 * them, and how many of the values equal to them are kept. Bindings: step uniform of the whole batch, uniform { d_sae,
 * stride }, quota [d_sae], found, bins. A thread per latent.
 */
export function pickLatentDigit(digit: number): string {
	return /* wgsl */ `
${STEP_PARAMS}
@group(0) @binding(0) var<uniform> step: Step;
@group(0) @binding(1) var<uniform> size: vec4u;
@group(0) @binding(2) var<storage, read> quota: array<f32>;
@group(0) @binding(3) var<storage, read_write> found: array<vec2u>;
@group(0) @binding(4) var<storage, read_write> bins: array<u32>;
${NEED}

${eachLatent(`
	let need = need_of(latent);
	var left = ${digit === 0 ? "need" : "found[latent].y"};
	${
		digit === 0
			? `var positive = 0u;
	for (var bin = 0u; bin < ${LATENT_BINS}u; bin++) { positive += bins[bin * size.y + latent]; }
	if (positive < need) { left = ${ALL}; }`
			: ""
	}
	var bin = ${LATENT_BINS - 1}u;
	while (bin > 0u && bins[bin * size.y + latent] < left) { left -= select(bins[bin * size.y + latent], 0u, left == ${ALL}); bin--; }
	for (var i = 0u; i < ${LATENT_BINS}u; i++) { bins[i * size.y + latent] = 0u; }
	${
		digit < LATENT_DIGITS - 1
			? `found[latent] = vec2u(${digit === 0 ? "bin" : "(found[latent].x << 8u) | bin"}, left);`
			: `let bits = select((found[latent].x << 8u) | bin, 1u, left == ${ALL});
	found[latent] = vec2u(select(bits, 0xffffffffu, need == 0u), select(left, 0u, left == ${ALL}));`
	}
`)}
`;
}

/**
 * The bounds of the rows of a chunk, from those of the batch: earlier rows keep equal values first. Bindings: step
 * uniform, uniform { first row, rows, d_sae, stride }, pre, found, taken [latents] (equal values in the rows before),
 * bounds [latents]. A thread per latent.
 */
export const SHARE_LATENT_BOUNDS = /* wgsl */ `
${PRE_ACTIVATIONS}
@group(0) @binding(3) var<storage, read> found: array<vec2u>;
@group(0) @binding(4) var<storage, read_write> taken: array<u32>;
@group(0) @binding(5) var<storage, read_write> bounds: array<vec2u>;

${eachLatent(
	`
	let bound = found[latent];
	var left = bound.y - min(bound.y, taken[latent]);
	var end = 0u;
	let rows = min(chunk.rows, step.rows - chunk.first_row);
	for (var row = 0u; row < rows && left > 0u; row++) {
		if (key(pre[row * chunk.stride + latent]) == bound.x) {
			end = chunk.first_row + row + 1u;
			left--;
			taken[latent]++;
		}
	}
	bounds[latent] = vec2u(bound.x, end);`,
	"chunk.d_sae",
)}
`;
