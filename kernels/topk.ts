/**
 * Exact, deterministic top-k of each row of pre-activations; only positive values are kept, since ReLU follows, or
 * by magnitude, all but zeros.
 *
 * Candidates are summarised by buckets: the k-th largest bucket maximum is a lower bound for the k-th largest
 * value, and for values in no special order barely more than k candidates pass it. Those are ranked exactly
 * (value descending, then index ascending). Rows that leave too many candidates, such as many equal values, take
 * a slower exact path: bisection on the bits of the value over the whole row.
 */
import { GROUP_INDEX, POSITIVE_KEY, STEP_PARAMS, unroll } from "./wgsl.ts";

/** Largest k that the selection is built for. */
export const MAX_K = 512;

/** Threads that share a row where they are cheap. */
export const SELECT_THREADS = 256;
/** Bits of the threshold that the fast path resolves; the rest stay zero, which lets a few more candidates in. */
const FAST_BITS = 15;

export interface TopKShape {
	/** Largest k of the run, at most MAX_K. */
	readonly maxK: number;
	/** Threads that share a row. */
	readonly threads: number;
	/** `maxima`: a maximum for every four latents is at hand; `dead`: only the latents of a list take part. */
	readonly scan: "maxima" | "dead";
	/** Latents are pairs of so many keys each: (i, j)'s value is key i's and key (keys + j)'s summed. Only with `dead`. */
	readonly keys?: number | undefined;
	/** Largest absolute values count, and keep their sign; the maxima are then of absolute values. */
	readonly magnitude?: boolean;
}

/**
 * Bindings: step uniform, uniform { first row of the chunk, rows of the chunk, first code row of the term, first
 * entry of the term, d_sae, stride, room per row, which of the step's k }, pre [rows, stride], then `maxima` [rows, stride / 4] or the list { count, latents… },
 * index [entries], value [entries], span [code rows] (first entry, end).
 * One workgroup per row. Entries of a row are written by ascending index, from row · room.
 */
export function selectTopK(shape: TopKShape): string {
	const { threads, scan, magnitude = false, keys } = shape;
	// Rounded up, so that few different kernels are compiled.
	const room = 2 ** Math.ceil(Math.log2(shape.maxK));
	const perThread = Math.max(1, (4 * room) / threads);
	const buckets = threads * perThread;
	/** Candidates ranked in workgroup memory; past this the slow path takes over. */
	const candidates = Math.max(128, 2 * room);
	const dead = scan === "dead";
	// Loads that a GPU has under way at a time; compilers for CPUs take long over such text and gain nothing.
	const overlapped = threads > 32 ? 4 : 1;
	const keyOf = (i: number) => `let u${i} = unit_key(chunk_row, base, i + ${i * buckets}u);`;
	const scanUnits = (each: (i: number) => string) => `
		var i = thread + b * ${threads}u;
		for (; i + ${(overlapped - 1) * buckets}u < units; i += ${overlapped * buckets}u) {
			${unroll(overlapped, keyOf)}
			${unroll(overlapped, each)}
		}
		${overlapped > 1 ? `for (; i < units; i += ${buckets}u) { ${keyOf(0)} ${each(0)} }` : ""}`;
	return /* wgsl */ `
${STEP_PARAMS}
${GROUP_INDEX}
struct Chunk { first_row: u32, rows: u32, code_row: u32, entry: u32, d_sae: u32, stride: u32, room: u32, term: u32 }
@group(0) @binding(0) var<uniform> step: Step;
@group(0) @binding(1) var<uniform> chunk: Chunk;
@group(0) @binding(2) var<storage, read> pre: array<f32>;
@group(0) @binding(3) var<storage, read> ${dead ? "list: array<u32>" : "maxima: array<f32>"};
@group(0) @binding(4) var<storage, read_write> out_index: array<u32>;
@group(0) @binding(5) var<storage, read_write> out_value: array<f32>;
@group(0) @binding(6) var<storage, read_write> span: array<vec2u>;

var<workgroup> counters: array<atomic<u32>, 32>;
var<workgroup> candidate_count: atomic<u32>;
var<workgroup> candidate_total: u32;
var<workgroup> candidate_key: array<u32, ${candidates}>;
var<workgroup> candidate_index: array<u32, ${candidates}>;
var<workgroup> candidate_kept: array<u32, ${candidates}>;
var<workgroup> above: array<u32, ${threads}>;
var<workgroup> equal: array<u32, ${threads}>;

${magnitude ? "fn key(value: f32) -> u32 { return bitcast<u32>(value) & 0x7fffffffu; }" : POSITIVE_KEY}

fn pre_at(base: u32, latent: u32) -> f32 { return ${keys === undefined ? "pre[base + latent]" : `pre[base + latent / ${keys}u] + pre[base + ${keys}u + latent % ${keys}u]`}; }

fn count() -> u32 { return ${dead ? "list[0]" : "chunk.d_sae"}; }
fn latent(i: u32) -> u32 { return ${dead ? "list[1u + i]" : "i"}; }

@compute @workgroup_size(${threads})
fn main(@builtin(workgroup_id) group: vec3u, @builtin(num_workgroups) groups: vec3u, @builtin(local_invocation_index) thread: u32) {
	let chunk_row = group_index(group, groups);
	let row = chunk.first_row + chunk_row;
	if (chunk_row >= chunk.rows || row >= step.rows) { return; }
	let base = chunk_row * chunk.stride;
	let first = chunk.entry + row * chunk.room;
	let n = count();
	let k = min(step.k[chunk.term / 4u][chunk.term % 4u], chunk.room);
	if (n == 0u) {
		if (thread == 0u) { span[chunk.code_row + row] = vec2u(first, first); }
		return;
	}
	clear_counters(thread);
	if (thread == 0u) { atomicStore(&candidate_count, 0u); }

	// 1. Bucket maxima.
	let units = ${dead ? "n" : "chunk.stride / 4u"};
	var best: array<u32, ${perThread}>;
	for (var b = 0u; b < ${perThread}u; b++) {
		var largest = 0u;
		${scanUnits((i) => `largest = max(largest, u${i});`)}
		best[b] = largest;
	}
	workgroupBarrier();

	// 2. A lower bound for the k-th largest: the largest bit pattern that at least k bucket maxima reach.
	var bound = 0u;
	for (var round = 0u; round < ${FAST_BITS}u; round++) {
		let probe = bound | (0x40000000u >> round);
		var reach = 0u;
		for (var b = 0u; b < ${perThread}u; b++) { reach += select(0u, 1u, best[b] >= probe); }
		if (reach > 0u) { atomicAdd(&counters[round], reach); }
		workgroupBarrier();
		if (atomicLoad(&counters[round]) >= k) { bound = probe; }
	}
	bound = max(bound, 1u);

	// 3. Candidates.
	for (var b = 0u; b < ${perThread}u; b++) {
		if (best[b] < bound) { continue; }
		${scanUnits((i) => `if (u${i} >= bound) { offer_unit(base, i + ${i * buckets}u, u${i}, bound); }`)}
	}
	workgroupBarrier();
	if (thread == 0u) { candidate_total = atomicLoad(&candidate_count); }
	let found = workgroupUniformLoad(&candidate_total);

	var kept = 0u;
	if (found <= ${candidates}u) {
		// 4. Exact ranks among the candidates, then places by ascending index.
		for (var c = thread; c < found; c += ${threads}u) {
			let mine = candidate_key[c];
			let index = candidate_index[c];
			var rank = 0u;
			for (var other = 0u; other < found; other++) {
				let theirs = candidate_key[other];
				rank += select(0u, 1u, theirs > mine || (theirs == mine && candidate_index[other] < index));
			}
			candidate_kept[c] = select(0u, 1u, rank < k);
		}
		workgroupBarrier();
		for (var c = thread; c < found; c += ${threads}u) {
			if (candidate_kept[c] == 0u) { continue; }
			let index = candidate_index[c];
			var place = 0u;
			for (var other = 0u; other < found; other++) {
				place += select(0u, candidate_kept[other], candidate_index[other] < index);
			}
			out_index[first + place] = index;
			out_value[first + place] = ${magnitude ? "pre_at(base, index)" : "bitcast<f32>(candidate_key[c])"};
		}
		kept = min(found, k);
	} else {
		kept = select_slowly(thread, base, first, n, k);
	}
	if (thread == 0u) { span[chunk.code_row + row] = vec2u(first, first + kept); }
}

// What the scan looks at first: a latent of the list, or the largest of four neighbours.
fn unit_key(chunk_row: u32, base: u32, i: u32) -> u32 {
	return ${dead ? "key(pre_at(base, list[1u + i]))" : "key(maxima[chunk_row * (chunk.stride / 4u) + i])"};
}

fn offer_unit(base: u32, i: u32, unit: u32, bound: u32) {
	${dead ? "offer(list[1u + i], unit, bound);" : "for (var j = i * 4u; j < i * 4u + 4u; j++) { offer(j, key(pre_at(base, j)), bound); }"}
}

fn clear_counters(thread: u32) {
	for (var i = thread; i < 32u; i += ${threads}u) { atomicStore(&counters[i], 0u); }
}

fn offer(index: u32, candidate: u32, bound: u32) {
	if (candidate < bound) { return; }
	let place = atomicAdd(&candidate_count, 1u);
	if (place < ${candidates}u) {
		candidate_key[place] = candidate;
		candidate_index[place] = index;
	}
}

fn select_slowly(thread: u32, base: u32, first: u32, n: u32, k: u32) -> u32 {
	clear_counters(thread);
	workgroupBarrier();
	var bound = 0u;
	for (var round = 0u; round < 31u; round++) {
		let probe = bound | (0x40000000u >> round);
		var reach = 0u;
		for (var i = thread; i < n; i += ${threads}u) { reach += select(0u, 1u, key(pre_at(base, latent(i))) >= probe); }
		if (reach > 0u) { atomicAdd(&counters[round], reach); }
		workgroupBarrier();
		if (atomicLoad(&counters[round]) >= k) { bound = probe; }
	}
	bound = max(bound, 1u);
	// Each thread owns a run of the row, so that what it keeps lies together and in order.
	let run = (n + ${threads - 1}u) / ${threads}u;
	let from_ = min(thread * run, n);
	let to = min(from_ + run, n);
	above[thread] = 0u;
	equal[thread] = 0u;
	for (var i = from_; i < to; i++) {
		let mine = key(pre_at(base, latent(i)));
		if (mine > bound) { above[thread]++; }
		if (mine == bound) { equal[thread]++; }
	}
	workgroupBarrier();
	var total_above = 0u;
	for (var t = 0u; t < ${threads}u; t++) { total_above += above[t]; }
	let room = k - total_above;
	var place = first;
	var equal_before = 0u;
	for (var t = 0u; t < thread; t++) {
		place += above[t];
		equal_before += equal[t];
	}
	place += min(equal_before, room);
	for (var i = from_; i < to; i++) {
		let mine = key(pre_at(base, latent(i)));
		var keep = mine > bound;
		if (mine == bound) {
			keep = equal_before < room;
			equal_before++;
		}
		if (keep) {
			out_index[place] = latent(i);
			out_value[place] = ${magnitude ? "pre_at(base, latent(i))" : "bitcast<f32>(mine)"};
			place++;
		}
	}
	var total_equal = 0u;
	for (var t = 0u; t < ${threads}u; t++) { total_equal += equal[t]; }
	return min(k, total_above + total_equal);
}
`;
}
