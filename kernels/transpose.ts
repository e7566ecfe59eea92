/**
 * Codes by row → codes by latent, in a fixed order, without sorting the whole and without float atomics.
 *
 * Counting gives every latent its range; entries arrive there in any order and are then put in order of their
 * row, which makes every later sum over a latent's entries the same on each run.
 */
import { eachLatent, GROUP_INDEX } from "./wgsl.ts";

const ROW_THREADS = 64;
/** Lists up to this length are ordered by comparing, longer ones through a bitmap. */
const SHORT = 64;

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

/** Names of the bindings of {@link orderEntries} between `arrived` and `entries`. */
export function orderBindings({ weights }: OrderShape): ("value" | "slope" | "control" | "weighed")[] {
	return "scaleAt" in weights ? ["value", "slope", "control"] : ["value", "weighed"];
}

/**
 * Puts each latent's entries in order of their row and attaches their weights.
 * Bindings: uniform { d_sae, stride }, offsets, arrived, {@link orderBindings}, entries [entries], gradient [rows,
 * stride], counts (cleared for the next step), fired [d_sae] (codes of the first term that are not 0).
 * decoder = value · scale, encoder = slope · scale; b_enc's gradient is the sum of the latter, in row order.
 * Short lists are ranked by comparing; long ones through a bitmap of the code rows. One workgroup per latent.
 */
export function orderEntries(shape: OrderShape): string {
	const { threads, weights, shareRows, encoderRows } = shape;
	const words = Math.ceil(shape.codeRows / 32);
	const perThread = Math.ceil(words / threads);
	const stride = "shares" in weights ? 2 + weights.shares : 0;
	const names = orderBindings(shape);
	const after = 3 + names.length;
	/** Shares are summed for each row of the gradient, in row order. */
	const rows = [...new Set([...encoderRows, ...shareRows])].sort((a, b) => a - b);
	const share = (row: number, place: string) =>
		[
			...(encoderRows.includes(row) ? [`entries[${place}].encoder`] : []),
			...shareRows.flatMap((of, i) =>
				of === row ? [`weighed[entries[${place}].code * ${stride}u + ${2 + i}u]`] : [],
			),
		].join(" + ");
	const total = (row: number) => `
	{
		var sum = 0.0;
		for (var i = thread; i < length; i += ${threads}u) { sum += ${share(row, "first + i")}; }
		slopes[thread] = sum;
		workgroupBarrier();
		if (thread == 0u) {
			var all = 0.0;
			for (var t = 0u; t < ${threads}u; t++) { all += slopes[t]; }
			gradient[${row}u * size.y + latent] = all;
		}
		workgroupBarrier();
	}`;
	return /* wgsl */ `
${GROUP_INDEX}
${ENTRY}
@group(0) @binding(0) var<uniform> size: vec4u;
@group(0) @binding(1) var<storage, read> offsets: array<u32>;
@group(0) @binding(2) var<storage, read> arrived: array<vec2u>;
${names.map((name, i) => `@group(0) @binding(${3 + i}) var<storage, read> ${name}: array<f32>;`).join("\n")}
@group(0) @binding(${after}) var<storage, read_write> entries: array<Entry>;
@group(0) @binding(${after + 1}) var<storage, read_write> gradient: array<f32>;
@group(0) @binding(${after + 2}) var<storage, read_write> counts: array<u32>;
@group(0) @binding(${after + 3}) var<storage, read_write> fired: array<u32>;

var<workgroup> bits: array<atomic<u32>, ${words}>;
var<workgroup> before: array<u32, ${threads}>;
var<workgroup> rows: array<u32, ${SHORT}>;
var<workgroup> slopes: array<f32, ${Math.max(SHORT, threads)}>;
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

@compute @workgroup_size(${threads})
fn main(@builtin(workgroup_id) group: vec3u, @builtin(num_workgroups) groups: vec3u, @builtin(local_invocation_index) thread: u32) {
	let latent = group_index(group, groups);
	if (latent >= size.x) { return; }
	let first = offsets[latent];
	let length = offsets[latent + 1u] - first;
	if (thread == 0u) { counts[latent] = 0u; }
	if (length == 0u) {
		if (thread == 0u) {
			${rows.map((row) => `gradient[${row}u * size.y + latent] = 0.0;`).join(" ")}
			fired[latent] = 0u;
		}
		return;
	}
	if (thread == 0u) { atomicStore(&fires, 0u); }
	if (length <= ${SHORT}u) {
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
		}
		return;`
				: "storageBarrier();\n\t\tworkgroupBarrier();"
		}
	} else {
		for (var w = thread; w < ${words}u; w += ${threads}u) { atomicStore(&bits[w], 0u); }
		workgroupBarrier();
		for (var i = thread; i < length; i += ${threads}u) {
			let row = arrived[first + i].x;
			atomicOr(&bits[row / 32u], 1u << (row % 32u));
		}
		workgroupBarrier();
		// Each thread counts a run of words; a second pass over the runs before it gives every word its first place.
		let run = thread * ${perThread}u;
		var own = 0u;
		for (var w = run; w < min(run + ${perThread}u, ${words}u); w++) { own += countOneBits(atomicLoad(&bits[w])); }
		before[thread] = own;
		workgroupBarrier();
		for (var i = thread; i < length; i += ${threads}u) {
			let mine = arrived[first + i];
			let word = mine.x / 32u;
			let owner = word / ${perThread}u;
			var place = 0u;
			for (var t = 0u; t < owner; t++) { place += before[t]; }
			for (var w = owner * ${perThread}u; w < word; w++) { place += countOneBits(atomicLoad(&bits[w])); }
			place += countOneBits(atomicLoad(&bits[word]) & ((1u << (mine.x % 32u)) - 1u));
			_ = weigh(first + place, mine.x, mine.y);
		}
		storageBarrier();
		workgroupBarrier();
		if (thread == 0u) { fired[latent] = atomicLoad(&fires); }
	}
	${rows.map(total).join("\n")}
}
`;
}

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
