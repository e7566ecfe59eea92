/** Pieces of WGSL that selections of the k largest of a row share: what to look at, whom to rank, and how. */
import { SUMMARY_ERROR } from "./tensor-product.ts";
import { GROUP_INDEX, literal, POSITIVE_KEY, unroll } from "./wgsl.ts";

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
	/**
	 * `maxima`: a maximum for every four latents is at hand; `summaries`: more of four is, but no pre-activation (see
	 * tensor-product.ts); `dead`: only the latents of a list take part; `dead_only`: and the others have no pre-activations.
	 */
	readonly scan: "maxima" | "summaries" | "dead" | "dead_only";
	/** Latents are pairs of so many keys each: (i, j)'s value is key i's and key (keys + j)'s summed. Only where dead ones are listed. */
	readonly keys?: number | undefined;
	/** Largest absolute values count, and keep their sign; the maxima are then of absolute values. */
	readonly magnitude?: boolean;
}

/** Candidates ranked in workgroup memory; past this the slow path takes over. */
export function candidateRoom({ maxK }: Pick<TopKShape, "maxK">): number {
	return Math.max(128, 2 * roundedK(maxK));
}

/** Rounded up, so that few different kernels are compiled. */
function roundedK(maxK: number): number {
	return 2 ** Math.ceil(Math.log2(maxK));
}

/**
 * What kernels bind as `chunk`: first row of the chunk, rows of the chunk, first code row of the term, first entry of
 * the term, d_sae, stride, room per row, which of the step's k.
 */
export const CHUNK = /* wgsl */ `
struct Chunk { first_row: u32, rows: u32, code_row: u32, entry: u32, d_sae: u32, stride: u32, room: u32, term: u32 }
@group(0) @binding(1) var<uniform> chunk: Chunk;
`;

/** A kernel with a workgroup for each row of a chunk; `body` knows its `row`, also within the chunk, and its `k`. */
export function eachRow(threads: number, body: string): string {
	return /* wgsl */ `
${GROUP_INDEX}
@compute @workgroup_size(${threads})
fn main(@builtin(workgroup_id) group: vec3u, @builtin(num_workgroups) groups: vec3u, @builtin(local_invocation_index) thread: u32) {
	let chunk_row = group_index(group, groups);
	let row = chunk.first_row + chunk_row;
	if (chunk_row >= chunk.rows || row >= step.rows) { return; }
	let k = min(step.k[chunk.term / 4u][chunk.term % 4u], chunk.room);
	${body}
}
`;
}

/** `key`: what orders values; 0 for those that never count. */
export function keyFunction({ magnitude = false }: TopKShape): string {
	return magnitude ? "fn key(value: f32) -> u32 { return bitcast<u32>(value) & 0x7fffffffu; }" : POSITIVE_KEY;
}

/**
 * What is looked through: places in the list of dead latents, or all latents. `list` and `pre` are what kernels bind.
 */
export function latentFunctions({ scan, keys }: TopKShape): string {
	const dead = scan === "dead" || scan === "dead_only";
	const pair = `pre[base + latent(i) / ${keys}u] + pre[base + ${keys}u + latent(i) % ${keys}u]`;
	const one = scan === "dead" ? "pre[base + latent(i)]" : "pre[base + i]";
	return /* wgsl */ `
fn count() -> u32 { return ${dead ? "list[0]" : "chunk.d_sae"}; }
fn latent(i: u32) -> u32 { return ${dead ? "list[1u + i]" : "i"}; }
fn pre_at(base: u32, i: u32) -> f32 { return ${keys === undefined ? one : pair}; }
`;
}

/** Bit counters of a search for a bound. */
export function counters(threads: number): string {
	return /* wgsl */ `
var<workgroup> counters: array<atomic<u32>, 32>;
fn clear_counters(thread: u32) {
	for (var i = thread; i < 32u; i += ${threads}u) { atomicStore(&counters[i], 0u); }
}
`;
}

/** Candidates in workgroup memory, in any order: places as {@link latentFunctions} has them. */
export function candidates(shape: TopKShape): string {
	const room = candidateRoom(shape);
	return /* wgsl */ `
var<workgroup> candidate_key: array<u32, ${room}>;
var<workgroup> candidate_index: array<u32, ${room}>;
`;
}

/**
 * `shortlist`: finds the candidates of a row, and returns how many there are, which may be more than there is room for.
 * With a margin, all latents are among them whose value is positive and less than it below the k-th largest, or NO_BOUND
 * is returned where values are no numbers.
 */
export function shortlist(shape: TopKShape, margin: boolean): string {
	const { threads, scan } = shape;
	const perThread = Math.max(1, (4 * roundedK(shape.maxK)) / threads);
	const buckets = threads * perThread;
	const room = candidateRoom(shape);
	const dead = scan === "dead" || scan === "dead_only";
	// Loads that a GPU has under way at a time; compilers for CPUs take long over such text and gain nothing.
	const overlapped = threads > 32 ? 8 : 1;
	const keyOf = (i: number) => `let u${i} = unit_key(chunk_row, base, i + ${i * buckets}u);`;
	const scanUnits = (each: (i: number) => string) => `
		var i = thread + b * ${threads}u;
		for (; i + ${(overlapped - 1) * buckets}u < units; i += ${overlapped * buckets}u) {
			${unroll(overlapped, keyOf)}
			${unroll(overlapped, each)}
		}
		${overlapped > 1 ? `for (; i < units; i += ${buckets}u) { ${keyOf(0)} ${each(0)} }` : ""}`;
	return /* wgsl */ `
const NO_BOUND = 0xffffffffu;
var<workgroup> candidate_count: atomic<u32>;
var<workgroup> candidate_total: u32;

// What the scan looks at first: a latent, or four neighbours.
fn unit_key(chunk_row: u32, base: u32, i: u32) -> u32 {
	return ${dead ? "key(pre_at(base, i))" : scan === "maxima" ? "key(maxima[chunk_row * (chunk.stride / 4u) + i])" : "summaries[chunk_row * (chunk.stride / 4u) + i]"};
}

fn offer_unit(base: u32, i: u32, unit: u32, bound: u32) {
	${
		dead
			? "offer(i, unit, bound);"
			: scan === "maxima"
				? "for (var j = i * 4u; j < i * 4u + 4u; j++) { offer(j, key(pre_at(base, j)), bound); }"
				: `// The others are known by a bound only.
	let others = bitcast<u32>(summary_others(unit)) >= bound;
	for (var j = 0u; j < 4u; j++) {
		if (others || j == (unit & 3u)) { offer(i * 4u + j, bound, bound); }
	}`
	}
}

fn offer(index: u32, candidate: u32, bound: u32) {
	if (candidate < bound) { return; }
	let place = atomicAdd(&candidate_count, 1u);
	if (place < ${room}u) {
		candidate_key[place] = candidate;
		candidate_index[place] = index;
	}
}

fn shortlist(thread: u32, chunk_row: u32, base: u32, n: u32, k: u32${margin ? ", margin: f32" : ""}) -> u32 {
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
	${
		margin
			? `let low = bitcast<f32>(bound) * (1.0 - ${literal(SUMMARY_ERROR)}) - margin;
	// Where that isn't a number, neither are its makings.
	let bounded = low < 1e38;
	bound = select(NO_BOUND, select(1u, bitcast<u32>(low), low > 0.0), bounded);`
			: "bound = max(bound, 1u);"
	}

	// 3. Candidates.
	for (var b = 0u; b < ${perThread}u; b++) {
		if (best[b] < bound) { continue; }
		${scanUnits((i) => `if (u${i} >= bound) { offer_unit(base, i + ${i * buckets}u, u${i}, bound); }`)}
	}
	workgroupBarrier();
	if (thread == 0u) { candidate_total = ${margin ? "select(NO_BOUND, atomicLoad(&candidate_count), bounded)" : "atomicLoad(&candidate_count)"}; }
	return workgroupUniformLoad(&candidate_total);
}
`;
}

/**
 * `rank_candidates`: writes the k largest of the `found` candidates by ascending index, and returns how many. `value`:
 * WGSL for the value of candidate `c`, place `index`, of what begins at `base`.
 */
export function rankCandidates(shape: TopKShape, value: string): string {
	const { threads } = shape;
	return /* wgsl */ `
var<workgroup> candidate_kept: array<u32, ${candidateRoom(shape)}>;

fn rank_candidates(thread: u32, base: u32, first: u32, found: u32, k: u32) -> u32 {
	for (var c = thread; c < found; c += ${threads}u) {
		let mine = candidate_key[c];
		let index = candidate_index[c];
		var rank = 0u;
		for (var other = 0u; other < found; other++) {
			let theirs = candidate_key[other];
			rank += select(0u, 1u, theirs > mine || (theirs == mine && candidate_index[other] < index));
		}
		candidate_kept[c] = select(0u, 1u, rank < k && mine > 0u);
	}
	workgroupBarrier();
	var kept = 0u;
	for (var other = 0u; other < found; other++) { kept += candidate_kept[other]; }
	for (var c = thread; c < found; c += ${threads}u) {
		if (candidate_kept[c] == 0u) { continue; }
		let index = candidate_index[c];
		var place = 0u;
		for (var other = 0u; other < found; other++) {
			place += select(0u, candidate_kept[other], candidate_index[other] < index);
		}
		out_index[first + place] = latent(index);
		out_value[first + place] = ${value};
	}
	return kept;
}
`;
}

/** `select_slowly`: the same of a whole row, by bisection on the bits of its values. */
export function selectSlowly(shape: TopKShape): string {
	const { threads, magnitude = false } = shape;
	return /* wgsl */ `
var<workgroup> above: array<u32, ${threads}>;
var<workgroup> equal: array<u32, ${threads}>;

fn select_slowly(thread: u32, base: u32, first: u32, n: u32, k: u32) -> u32 {
	clear_counters(thread);
	workgroupBarrier();
	var bound = 0u;
	for (var round = 0u; round < 31u; round++) {
		let probe = bound | (0x40000000u >> round);
		var reach = 0u;
		for (var i = thread; i < n; i += ${threads}u) { reach += select(0u, 1u, key(pre_at(base, i)) >= probe); }
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
		let mine = key(pre_at(base, i));
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
		let mine = key(pre_at(base, i));
		var keep = mine > bound;
		if (mine == bound) {
			keep = equal_before < room;
			equal_before++;
		}
		if (keep) {
			out_index[place] = latent(i);
			out_value[place] = ${magnitude ? "pre_at(base, i)" : "bitcast<f32>(mine)"};
			place++;
		}
	}
	var total_equal = 0u;
	for (var t = 0u; t < ${threads}u; t++) { total_equal += equal[t]; }
	return min(k, total_above + total_equal);
}
`;
}
