/**
 * Codes of any number per row: a rule marks the latents that have one, bit by bit; counts become places; the marked
 * pre-activations are then written side by side. Nothing is cut short: when codes need more room than there is, no
 * span is written, and the room they would need can be read from the carry.
 */
import { declareNames, type Names } from "./formula.ts";
import { GROUP_INDEX, POSITIVE_KEY, STEP_PARAMS, workgroupSum } from "./wgsl.ts";

export const EXTRACT_THREADS = 256;

/** Latents of one word of marks. */
export const WORD = 32;

/** Which latents of a row have codes. */
export type Rule =
	/** Those for which a formula of z holds. */
	| { readonly kind: "formula"; readonly keep: string; readonly names: Names }
	/**
	 * Those over a bound of their row, one bound for each level: (bits of a positive number, how many equal to it).
	 * A latent belongs to the first level that has it.
	 */
	| { readonly kind: "rows"; readonly levels: number }
	/** Those over a bound of their latent: (bits of a positive number, the row before which equal counts). */
	| { readonly kind: "latents" };

const CHUNK = /* wgsl */ `
struct Chunk {
	first_row: u32,
	rows: u32,       // of the chunk
	code_row: u32,   // of the term's first block
	d_sae: u32,
	stride: u32,     // of pre-activations
	slot: u32,       // place of this selection in the carry
	limit: u32,      // end of the room for entries
	batch_rows: u32, // code rows of a block
}
`;

/**
 * Bindings: step uniform, chunk uniform, pre [rows, stride], bits [levels, chunk rows, stride / 32], counts [levels,
 * chunk rows], then the bounds, or the vectors [count, stride] that a formula names. One workgroup per row of the chunk.
 */
export function markCodes(rule: Rule, threads: number): string {
	const levels = rule.kind === "rows" ? rule.levels : 1;
	return /* wgsl */ `
${STEP_PARAMS}
${GROUP_INDEX}
${workgroupSum(threads)}
${CHUNK}
@group(0) @binding(0) var<uniform> step: Step;
@group(0) @binding(1) var<uniform> chunk: Chunk;
@group(0) @binding(2) var<storage, read> pre: array<f32>;
@group(0) @binding(3) var<storage, read_write> bits: array<u32>;
@group(0) @binding(4) var<storage, read_write> counts: array<u32>;
@group(0) @binding(5) var<storage, read> ${rule.kind === "formula" ? "vectors: array<f32>" : "bounds: array<vec2u>"};
${rule.kind === "rows" ? `var<workgroup> equals: array<u32, ${threads}>;` : ""}

${POSITIVE_KEY}

@compute @workgroup_size(${threads})
fn main(@builtin(workgroup_id) group: vec3u, @builtin(num_workgroups) groups: vec3u, @builtin(local_invocation_index) thread: u32) {
	let chunk_row = group_index(group, groups);
	if (chunk_row >= chunk.rows) { return; }
	let row = chunk.first_row + chunk_row;
	let words = chunk.stride / ${WORD}u;
	let base = chunk_row * chunk.stride;
	${rule.kind === "formula" ? "// A formula need not name anything, but every binding has to be there.\n\t_ = vectors[0];" : ""}
	if (row >= step.rows) {
		for (var level = thread; level < ${levels}u; level += ${threads}u) { counts[level * chunk.rows + chunk_row] = 0u; }
		return;
	}
	${rule.kind === "rows" ? rows(levels, threads) : each(rule, threads)}
}
`;
}

/** Rules that look at one latent at a time. */
function each(rule: Exclude<Rule, { kind: "rows" }>, threads: number): string {
	const test =
		rule.kind === "formula"
			? `let z = pre[base + latent];
			${declareNames(rule.names, [rule.keep], "chunk.stride")}
			let keep = ${rule.keep};`
			: `let bound = bounds[latent];
			let mine = key(pre[base + latent]);
			let keep = mine > bound.x || (mine == bound.x && row < bound.y);`;
	return `
	var mine_count = 0.0;
	for (var w = thread; w < words; w += ${threads}u) {
		var marks = 0u;
		let end = min(chunk.d_sae, (w + 1u) * ${WORD}u);
		for (var latent = w * ${WORD}u; latent < end; latent++) {
			${test}
			marks |= select(0u, 1u, keep) << (latent % ${WORD}u);
		}
		bits[chunk_row * words + w] = marks;
		mine_count += f32(countOneBits(marks));
	}
	let total = workgroup_sum(thread, mine_count);
	if (thread == 0u) { counts[chunk_row] = u32(total); }`;
}

/** Bounds of the row: those over it, and as many of the equal ones as it allows, by ascending latent. */
function rows(levels: number, threads: number): string {
	return `
	// Each thread owns a run of words, so that equal values are counted in order.
	let run = (words + ${threads - 1}u) / ${threads}u;
	let from_ = min(thread * run, words);
	let to = min(from_ + run, words);
	for (var level = 0u; level < ${levels}u; level++) {
		let bound = bounds[row * ${levels}u + level];
		let first = (level * chunk.rows + chunk_row) * words;
		var own = 0u;
		for (var w = from_; w < to; w++) {
			var marks = 0u;
			let end = min(chunk.d_sae, (w + 1u) * ${WORD}u);
			for (var latent = w * ${WORD}u; latent < end; latent++) {
				let mine = key(pre[base + latent]);
				marks |= select(0u, 1u, mine > bound.x) << (latent % ${WORD}u);
				own += select(0u, 1u, mine == bound.x);
			}
			bits[first + w] = marks;
		}
		equals[thread] = own;
		workgroupBarrier();
		var place = 0u;
		for (var t = 0u; t < thread; t++) { place += equals[t]; }
		if (own > 0u && place < bound.y) {
			for (var w = from_; w < to; w++) {
				var marks = bits[first + w];
				let end = min(chunk.d_sae, (w + 1u) * ${WORD}u);
				for (var latent = w * ${WORD}u; latent < end; latent++) {
					if (key(pre[base + latent]) == bound.x) {
						marks |= select(0u, 1u, place < bound.y) << (latent % ${WORD}u);
						place++;
					}
				}
				bits[first + w] = marks;
			}
		}
		var mine_count = 0.0;
		for (var w = from_; w < to; w++) {
			var marks = bits[first + w];
			for (var earlier = 0u; earlier < level; earlier++) { marks &= ~bits[(earlier * chunk.rows + chunk_row) * words + w]; }
			bits[first + w] = marks;
			mine_count += f32(countOneBits(marks));
		}
		let total = workgroup_sum(thread, mine_count);
		if (thread == 0u) { counts[level * chunk.rows + chunk_row] = u32(total); }
	}`;
}

export interface WriteShape {
	readonly threads: number;
	/** Levels of marks, each a block of its own. */
	readonly levels: number;
	/** Parts that a single level is cut into, by the latents at which step.below[firstBlock + part] says so. */
	readonly parts: number;
	readonly firstBlock: number;
}

/**
 * Bindings: step uniform, chunk uniform, pre, bits, offsets [levels · chunk rows + 1] (places of counts), carry (by
 * selection: the first entry it may use; it sets the next one's), index [entries], z [entries], span [code rows].
 * Entries of a row and level are written by ascending latent. One workgroup per row of the chunk and level.
 */
export function writeCodes(shape: WriteShape): string {
	const { threads, parts, firstBlock } = shape;
	const ends = Array.from(
		{ length: parts - 1 },
		(_, part) =>
			`if (part == ${part}u) { end = step.below[${Math.floor((firstBlock + part) / 4)}][${(firstBlock + part) % 4}]; }`,
	).join(" ");
	return /* wgsl */ `
${STEP_PARAMS}
${GROUP_INDEX}
${CHUNK}
@group(0) @binding(0) var<uniform> step: Step;
@group(0) @binding(1) var<uniform> chunk: Chunk;
@group(0) @binding(2) var<storage, read> pre: array<f32>;
@group(0) @binding(3) var<storage, read> bits: array<u32>;
@group(0) @binding(4) var<storage, read> offsets: array<u32>;
@group(0) @binding(5) var<storage, read_write> carry: array<u32>;
@group(0) @binding(6) var<storage, read_write> index: array<u32>;
@group(0) @binding(7) var<storage, read_write> z: array<f32>;
@group(0) @binding(8) var<storage, read_write> span: array<vec2u>;
var<workgroup> counted: array<u32, ${threads}>;

@compute @workgroup_size(${threads})
fn main(@builtin(workgroup_id) group: vec3u, @builtin(num_workgroups) groups: vec3u, @builtin(local_invocation_index) thread: u32) {
	_ = step.rows; // read only where a level is cut into parts
	let v = group_index(group, groups);
	if (v >= ${shape.levels}u * chunk.rows) { return; }
	let chunk_row = v % chunk.rows;
	let level = v / chunk.rows;
	let row = chunk.first_row + chunk_row;
	let carried = carry[chunk.slot];
	let all = offsets[${shape.levels}u * chunk.rows];
	if (v == 0u && thread == 0u) { carry[chunk.slot + 1u] = carried + min(all, 0xffffffffu - carried); }
	if (row >= chunk.batch_rows) { return; }
	let fits = carried <= chunk.limit && all <= chunk.limit - carried;
	let first = select(0u, carried + offsets[v], fits);
	let last = select(0u, carried + offsets[v + 1u], fits);
	let words = chunk.stride / ${WORD}u;
	let run = (words + ${threads - 1}u) / ${threads}u;
	let from_ = min(thread * run, words);
	let to = min(from_ + run, words);
	var own = 0u;
	if (fits) { for (var w = from_; w < to; w++) { own += countOneBits(bits[v * words + w]); } }
	counted[thread] = own;
	workgroupBarrier();
	var place = first;
	for (var t = 0u; t < thread; t++) { place += counted[t]; }
	let begin = place;
	if (own > 0u) {
		for (var w = from_; w < to; w++) {
			var marks = bits[v * words + w];
			while (marks != 0u) {
				let latent = w * ${WORD}u + countTrailingZeros(marks);
				marks &= marks - 1u;
				index[place] = latent;
				z[place] = pre[chunk_row * chunk.stride + latent];
				place++;
			}
		}
	}
	${
		parts === 1
			? "if (thread == 0u) { span[chunk.code_row + level * chunk.batch_rows + row] = vec2u(first, last); }"
			: `// Where each part ends: its thread is the one whose run holds the first latent of the next part.
	for (var part = 0u; part < ${parts}u; part++) {
		var end = chunk.d_sae;
		${ends}
		end = min(end, chunk.stride);
		let word = end / ${WORD}u;
		let owner = select(word / run, ${threads}u, word >= words);
		let at = chunk.code_row + part * chunk.batch_rows + row;
		if (owner >= ${threads}u) {
			if (thread == 0u) { span[at].y = last; if (part + 1u < ${parts}u) { span[at + chunk.batch_rows].x = last; } }
		} else if (thread == owner) {
			var before = begin;
			if (fits) {
				for (var w = from_; w < word; w++) { before += countOneBits(bits[v * words + w]); }
				before += countOneBits(bits[v * words + word] & ((1u << (end % ${WORD}u)) - 1u));
			}
			span[at].y = before;
			if (part + 1u < ${parts}u) { span[at + chunk.batch_rows].x = before; }
		}
		if (part == 0u && thread == 0u) { span[at].x = first; }
	}`
	}
}
`;
}
