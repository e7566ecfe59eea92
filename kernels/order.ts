/**
 * Each latent's entries are put in order of their row, which makes every later sum over them the same on each run, and
 * get their weights. Short lists, which are most, and long ones are two kernels: a latent that fires in every row would
 * keep a workgroup made for short ones busy for longer than all others together.
 */
import { GROUP_INDEX, workgroupSum } from "./wgsl.ts";

/** Lists up to this length are ordered by comparing, longer ones through a bitmap. */
const SHORT = 64;
/** Latents that a workgroup looks through for long lists. */
export const LISTS_PER_GROUP = 16;

/** A latent's entry, ready to be summed: which code row, what it weighs in each gradient, and which code it was. */
export const ENTRY = /* wgsl */ `
struct Entry { row: u32, decoder: f32, encoder: f32, code: u32 }
`;
export const ENTRY_BYTES = 16;

export interface OrderShape {
	readonly codeRows: number;
	/** Rows of a block. */
	readonly rows: number;
	/** Code rows of the first term, whose codes say that a latent fires. */
	readonly firingRows: number;
	/** A power of two. */
	readonly threads: number;
	/**
	 * `scaled`: codes are weighed here, by the scale of their block, from element `scaleAt` of the control buffer on.
	 * Otherwise they come weighed: decoder's and encoder's weight, then shares of further gradients.
	 */
	readonly weights: { readonly scaleAt: number } | { readonly shares: number };
	/** By share, the row of the gradient that it belongs to. */
	readonly shareRows: readonly number[];
	/** Rows of the gradient that get the encoder's weights: b_enc's, which is the first, and maybe one for these alone. */
	readonly encoderRows: readonly number[];
}

/** Names of the bindings between `arrived` and `entries`. */
export function orderBindings({ weights }: OrderShape): ("value" | "slope" | "control" | "weighed")[] {
	return "scaleAt" in weights ? ["value", "slope", "control"] : ["value", "weighed"];
}

/** Rows of the gradient that are written. */
function gradientRows({ encoderRows, shareRows }: OrderShape): number[] {
	return [...new Set([...encoderRows, ...shareRows])].sort((a, b) => a - b);
}

/**
 * What both kernels bind: uniform { d_sae, stride }, offsets, arrived, {@link orderBindings}, entries [entries], gradient
 * [rows, stride], counts (cleared for the next step), fired [d_sae] (codes of the first term that are not 0).
 * decoder = value · scale, encoder = slope · scale; b_enc's gradient is the sum of the latter, in row order.
 */
function head(shape: OrderShape): string {
	const { weights } = shape;
	const names = orderBindings(shape);
	const after = 3 + names.length;
	const stride = strideOf(shape);
	return /* wgsl */ `
${GROUP_INDEX}
${ENTRY}
${workgroupSum(shape.threads)}
@group(0) @binding(0) var<uniform> size: vec4u;
@group(0) @binding(1) var<storage, read> offsets: array<u32>;
@group(0) @binding(2) var<storage, read> arrived: array<vec2u>;
${names.map((name, i) => `@group(0) @binding(${3 + i}) var<storage, read> ${name}: array<f32>;`).join("\n")}
@group(0) @binding(${after}) var<storage, read_write> entries: array<Entry>;
@group(0) @binding(${after + 1}) var<storage, read_write> gradient: array<f32>;
@group(0) @binding(${after + 2}) var<storage, read_write> counts: array<u32>;
@group(0) @binding(${after + 3}) var<storage, read_write> fired: array<u32>;

var<workgroup> fires: atomic<u32>;

fn weigh(place: u32, row: u32, e: u32) -> f32 {
	${
		"scaleAt" in weights
			? `let scale = control[${weights.scaleAt}u + row / ${shape.rows}u];
	let decoder = value[e] * scale;
	let encoder = slope[e] * scale;`
			: `let decoder = weighed[e * ${stride}u];
	let encoder = weighed[e * ${stride}u + 1u];`
	}
	if (row < ${shape.firingRows}u && value[e] != 0.0) { atomicAdd(&fires, 1u); }
	entries[place] = Entry(row, decoder, encoder, e);
	return encoder;
}
`;
}

function strideOf({ weights }: OrderShape): number {
	return "shares" in weights ? 2 + weights.shares : 0;
}

/** Sums a list's shares for each row of the gradient, each thread a part in row order. */
function totals(shape: OrderShape): string {
	const { threads, encoderRows, shareRows } = shape;
	const share = (row: number, place: string) =>
		[
			...(encoderRows.includes(row) ? [`entries[${place}].encoder`] : []),
			...shareRows.flatMap((of, i) =>
				of === row ? [`weighed[entries[${place}].code * ${strideOf(shape)}u + ${2 + i}u]`] : [],
			),
		].join(" + ");
	return gradientRows(shape)
		.map(
			(row) => `
	{
		var sum = 0.0;
		for (var i = thread; i < length; i += ${threads}u) { sum += ${share(row, "first + i")}; }
		let total = workgroup_sum(thread, sum);
		if (thread == 0u) { gradient[${row}u * size.y + latent] = total; }
	}`,
		)
		.join("\n");
}

/** Lists of no more than SHORT entries, by comparing all with all. One workgroup per latent. */
export function orderShort(shape: OrderShape): string {
	const { threads, shareRows } = shape;
	return /* wgsl */ `
${head(shape)}
var<workgroup> rows: array<u32, ${SHORT}>;
var<workgroup> slopes: array<f32, ${SHORT}>;

@compute @workgroup_size(${threads})
fn main(@builtin(workgroup_id) group: vec3u, @builtin(num_workgroups) groups: vec3u, @builtin(local_invocation_index) thread: u32) {
	let latent = group_index(group, groups);
	if (latent >= size.x) { return; }
	let first = offsets[latent];
	let length = offsets[latent + 1u] - first;
	if (length > ${SHORT}u) { return; }
	if (thread == 0u) { counts[latent] = 0u; }
	if (length == 0u) {
		if (thread == 0u) {
			${gradientRows(shape)
				.map((row) => `gradient[${row}u * size.y + latent] = 0.0;`)
				.join(" ")}
			fired[latent] = 0u;
		}
		return;
	}
	if (thread == 0u) { atomicStore(&fires, 0u); }
	for (var i = thread; i < length; i += ${threads}u) { rows[i] = arrived[first + i].x; }
	workgroupBarrier();
	for (var i = thread; i < length; i += ${threads}u) {
		let mine = arrived[first + i];
		var place = 0u;
		for (var other = 0u; other < length; other++) { place += select(0u, 1u, rows[other] < mine.x); }
		slopes[place] = weigh(first + place, mine.x, mine.y);
	}
	workgroupBarrier();
	if (thread == 0u) { fired[latent] = atomicLoad(&fires); }
	${
		shareRows.length === 0
			? `if (thread == 0u) {
		var sum = 0.0;
		for (var i = 0u; i < length; i++) { sum += slopes[i]; }
		gradient[latent] = sum;
	}`
			: `storageBarrier();
	workgroupBarrier();
	${totals(shape)}`
	}
}
`;
}

/** Longer lists, through a bitmap of the code rows. One workgroup per LISTS_PER_GROUP latents. */
export function orderLong(shape: OrderShape): string {
	const { threads } = shape;
	const words = Math.ceil(shape.codeRows / 32);
	const perThread = Math.ceil(words / threads);
	return /* wgsl */ `
${head(shape)}
var<workgroup> bits: array<atomic<u32>, ${words}>;
var<workgroup> before: array<u32, ${threads}>;
var<workgroup> any: atomic<u32>;
var<workgroup> found: u32;

fn order(thread: u32, latent: u32) {
	let first = offsets[latent];
	let length = offsets[latent + 1u] - first;
	if (thread == 0u) {
		counts[latent] = 0u;
		atomicStore(&fires, 0u);
	}
	for (var w = thread; w < ${words}u; w += ${threads}u) { atomicStore(&bits[w], 0u); }
	workgroupBarrier();
	for (var i = thread; i < length; i += ${threads}u) {
		let row = arrived[first + i].x;
		atomicOr(&bits[row / 32u], 1u << (row % 32u));
	}
	workgroupBarrier();
	// Each thread counts a run of words; then each learns what all runs before its own have.
	let run = thread * ${perThread}u;
	var own = 0u;
	for (var w = run; w < min(run + ${perThread}u, ${words}u); w++) { own += countOneBits(atomicLoad(&bits[w])); }
	before[thread] = own;
	workgroupBarrier();
	for (var reach = 1u; reach < ${threads}u; reach *= 2u) {
		let more = select(0u, before[max(thread, reach) - reach], thread >= reach);
		workgroupBarrier();
		before[thread] += more;
		workgroupBarrier();
	}
	for (var i = thread; i < length; i += ${threads}u) {
		let mine = arrived[first + i];
		let word = mine.x / 32u;
		let owner = word / ${perThread}u;
		var place = select(0u, before[max(owner, 1u) - 1u], owner > 0u);
		for (var w = owner * ${perThread}u; w < word; w++) { place += countOneBits(atomicLoad(&bits[w])); }
		place += countOneBits(atomicLoad(&bits[word]) & ((1u << (mine.x % 32u)) - 1u));
		_ = weigh(first + place, mine.x, mine.y);
	}
	storageBarrier();
	workgroupBarrier();
	if (thread == 0u) { fired[latent] = atomicLoad(&fires); }
	${totals(shape)}
}

@compute @workgroup_size(${threads})
fn main(@builtin(workgroup_id) group: vec3u, @builtin(num_workgroups) groups: vec3u, @builtin(local_invocation_index) thread: u32) {
	let begin = group_index(group, groups) * ${LISTS_PER_GROUP}u;
	let end = min(begin + ${LISTS_PER_GROUP}u, size.x);
	for (var latent = begin + thread; latent < end; latent += ${threads}u) {
		if (offsets[latent + 1u] - offsets[latent] > ${SHORT}u) { atomicStore(&any, 1u); }
	}
	workgroupBarrier();
	if (thread == 0u) { found = atomicLoad(&any); }
	if (workgroupUniformLoad(&found) == 0u) { return; }
	for (var latent = begin; latent < end; latent++) {
		if (offsets[latent + 1u] - offsets[latent] > ${SHORT}u) { order(thread, latent); }
	}
}
`;
}
