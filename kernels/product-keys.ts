/**
 * Product keys (Lample et al. 2019, "Large memory layers with product keys"): latent (i, j) of keys² has the
 * pre-activation a[i] + b[j], so that a row's k largest are found among the k largest of a and of b.
 */
import { GROUP_INDEX, packed, STEP_PARAMS } from "./wgsl.ts";

export interface ProductKeysShape {
	/** Keys of each half; keys² latents. */
	readonly keys: number;
	/** Room per row: the largest k. */
	readonly maxK: number;
	readonly threads: number;
	/** Which of the step's k. */
	readonly number: number;
}

/**
 * Bindings: step uniform, uniform { first row, rows, first code row, first entry, stride }, pre [rows, stride] (a, then b),
 * index, value, span. One workgroup per row; entries by ascending latent. Equal values: the lowest keys first.
 */
export function selectProductKeys({ keys, maxK, threads, number }: ProductKeysShape): string {
	const best = (count: string, value: string, store: string) => `
	for (var round = 0u; round < k; round++) {
		var mine = -3.4e38;
		var at = 0xffffffffu;
		for (var i = thread; i < ${count}; i += ${threads}u) {
			let candidate = ${value};
			if (candidate > mine) { mine = candidate; at = i; }
		}
		top_value[thread] = mine;
		top_at[thread] = at;
		workgroupBarrier();
		for (var half = ${threads / 2}u; half > 0u; half >>= 1u) {
			if (thread < half) {
				let other = top_value[thread + half];
				if (other > top_value[thread] || (other == top_value[thread] && top_at[thread + half] < top_at[thread])) {
					top_value[thread] = other;
					top_at[thread] = top_at[thread + half];
				}
			}
			workgroupBarrier();
		}
		if (thread == 0u) { ${store} }
		workgroupBarrier();
	}`;
	return /* wgsl */ `
${STEP_PARAMS}
${GROUP_INDEX}
struct Chunk { first_row: u32, rows: u32, code_row: u32, entry: u32, stride: u32, unused0: u32, unused1: u32, unused2: u32 }
@group(0) @binding(0) var<uniform> step: Step;
@group(0) @binding(1) var<uniform> chunk: Chunk;
@group(0) @binding(2) var<storage, read> pre: array<f32>;
@group(0) @binding(3) var<storage, read_write> index: array<u32>;
@group(0) @binding(4) var<storage, read_write> value: array<f32>;
@group(0) @binding(5) var<storage, read_write> span: array<vec2u>;
var<workgroup> top_value: array<f32, ${threads}>;
var<workgroup> top_at: array<u32, ${threads}>;
var<workgroup> key_at: array<u32, ${2 * maxK}>;
var<workgroup> key_value: array<f32, ${2 * maxK}>;
var<workgroup> pair_at: array<u32, ${maxK}>;
var<workgroup> pair_value: array<f32, ${maxK}>;
var<workgroup> found: u32;

fn is_taken(first: u32, taken: u32, key: u32) -> bool {
	for (var t = 0u; t < taken; t++) { if (key_at[first + t] == key) { return true; } }
	return false;
}
fn is_paired(taken: u32, latent: u32) -> bool {
	for (var t = 0u; t < taken; t++) { if (pair_at[t] == latent) { return true; } }
	return false;
}
// Pairs are searched by rank in a and in b; this is which latent that is.
fn latent_of(pair: u32, k: u32) -> u32 { return key_at[pair / k] * ${keys}u + key_at[${maxK}u + pair % k]; }

@compute @workgroup_size(${threads})
fn main(@builtin(workgroup_id) group: vec3u, @builtin(num_workgroups) groups: vec3u, @builtin(local_invocation_index) thread: u32) {
	let chunk_row = group_index(group, groups);
	let row = chunk.first_row + chunk_row;
	if (chunk_row >= chunk.rows || row >= step.rows) { return; }
	let wanted = min(${packed("step.k", number)}, ${maxK}u);
	let k = min(wanted, ${keys}u);
	let base = chunk_row * chunk.stride;
	for (var side = 0u; side < 2u; side++) {
		let from_ = base + side * ${keys}u;
		let first = side * ${maxK}u;
		${best(
			`${keys}u`,
			"select(pre[from_ + i], -3.4e38, is_taken(first, round, i))",
			"key_at[first + round] = top_at[0]; key_value[first + round] = top_value[0];",
		)}
	}
	if (thread == 0u) { found = 0u; }
	{
		let pairs = k * k;
		let k_keys = k;
		let rounds = min(wanted, pairs);
		${best(
			"pairs",
			`select(key_value[i / k_keys] + key_value[${maxK}u + i % k_keys], -3.4e38, is_paired(round, latent_of(i, k_keys)))`,
			`pair_at[round] = latent_of(min(top_at[0], pairs - 1u), k_keys); pair_value[round] = top_value[0];
			if (top_value[0] > 0.0) { found = round + 1u; }`,
		).replace("round < k;", "round < rounds;")}
	}
	let kept = workgroupUniformLoad(&found);
	let first = chunk.entry + row * ${maxK}u;
	for (var c = thread; c < kept; c += ${threads}u) {
		var place = 0u;
		for (var other = 0u; other < kept; other++) { place += select(0u, 1u, pair_at[other] < pair_at[c]); }
		index[first + place] = pair_at[c];
		value[first + place] = pair_value[c];
	}
	if (thread == 0u) { span[chunk.code_row + row] = vec2u(first, first + kept); }
}
`;
}

/**
 * What each row's codes pass back to keys, every key once: Σ of the weights of the codes that share it.
 * Bindings: uniform { code rows, rows per block }, index, span, then slope and control (scale of each block from
 * `scaleAt`) or the weighed codes (`stride` numbers each, the second of which counts), key index [2 entries], key weights
 * [2 entries, 2] (0, weight), key span [code rows]. One workgroup per code row; keys ascend.
 */
export function shareKeys(shape: {
	readonly keys: number;
	readonly threads: number;
	readonly weights: { readonly scaleAt: number } | { readonly stride: number };
}): string {
	const { keys, threads, weights } = shape;
	const scaled = "scaleAt" in weights;
	const next = scaled ? 5 : 4;
	const weight = scaled
		? `slope[code] * control[${weights.scaleAt}u + v / part.y]`
		: `weighed[code * ${weights.stride}u + 1u]`;
	return /* wgsl */ `
${GROUP_INDEX}
@group(0) @binding(0) var<uniform> part: vec4u;
@group(0) @binding(1) var<storage, read> index: array<u32>;
@group(0) @binding(2) var<storage, read> span: array<vec2u>;
@group(0) @binding(3) var<storage, read> ${scaled ? "slope" : "weighed"}: array<f32>;
${scaled ? "@group(0) @binding(4) var<storage, read> control: array<f32>;" : ""}
@group(0) @binding(${next}) var<storage, read_write> key_index: array<u32>;
@group(0) @binding(${next + 1}) var<storage, read_write> key_weight: array<vec2f>;
@group(0) @binding(${next + 2}) var<storage, read_write> key_span: array<vec2u>;
var<workgroup> distinct: atomic<u32>;

fn key_of(entries: vec2u, r: u32) -> u32 {
	let latent = index[entries.x + r / 2u];
	return select(latent / ${keys}u, ${keys}u + latent % ${keys}u, (r & 1u) == 1u);
}

@compute @workgroup_size(${threads})
fn main(@builtin(workgroup_id) group: vec3u, @builtin(num_workgroups) groups: vec3u, @builtin(local_invocation_index) thread: u32) {
	let v = group_index(group, groups);
	if (v >= part.x) { return; }
	let entries = span[v];
	let refs = 2u * (entries.y - entries.x);
	if (thread == 0u) { atomicStore(&distinct, 0u); }
	workgroupBarrier();
	for (var r = thread; r < refs; r += ${threads}u) {
		let key = key_of(entries, r);
		var earlier = false;
		for (var other = 0u; other < r; other++) { earlier = earlier || key_of(entries, other) == key; }
		if (earlier) { continue; }
		var place = 0u;
		var sum = 0.0;
		for (var other = 0u; other < refs; other++) {
			let theirs = key_of(entries, other);
			if (theirs == key) { let code = entries.x + other / 2u; sum += ${weight}; }
			if (theirs < key) {
				var first = true;
				for (var before = 0u; before < other; before++) { first = first && key_of(entries, before) != theirs; }
				place += select(0u, 1u, first);
			}
		}
		key_index[2u * entries.x + place] = key;
		key_weight[2u * entries.x + place] = vec2f(0.0, sum);
		atomicAdd(&distinct, 1u);
	}
	workgroupBarrier();
	if (thread == 0u) { key_span[v] = vec2u(2u * entries.x, 2u * entries.x + atomicLoad(&distinct)); }
}
`;
}
