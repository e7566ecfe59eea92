/**
 * Exact top-k of rows whose pre-activations are only known to a margin: those of a product of halved operands. Every
 * latent that could be among the k largest is put on a list, computed again in float32, and ranked by that. A row
 * whose list has no room for them all is computed again as a whole.
 */
import { halfError } from "./halve.ts";
import { SUMMARY } from "./tensor-product.ts";
import {
	CHUNK,
	candidateRoom,
	candidates,
	counters,
	eachRow,
	keyFunction,
	latentFunctions,
	rankCandidates,
	selectSlowly,
	shortlist,
	type TopKShape,
} from "./topk-parts.ts";
import { GROUP_INDEX, STEP_PARAMS } from "./wgsl.ts";

/** Rows that are looked through by the summaries of a product of halves. */
export type SummarisedTopK = Pick<TopKShape, "maxK" | "threads" | "magnitude">;

/**
 * Bindings: step uniform, chunk uniform (topk-parts.ts), summaries [rows, stride / 4], norms of rows and the largest of
 * latents (halve.ts), candidates [rows, room], their span [rows], and whether a row has to be computed as a whole [rows].
 * `width`: padded d_in. One workgroup per row.
 */
export function listCandidates(given: SummarisedTopK, width: number): string {
	const shape = { ...given, scan: "summaries" } as const;
	const { threads } = shape;
	const room = candidateRoom(shape);
	return /* wgsl */ `
${STEP_PARAMS}
${CHUNK}
@group(0) @binding(0) var<uniform> step: Step;
@group(0) @binding(2) var<storage, read> summaries: array<u32>;
@group(0) @binding(3) var<storage, read> row_norm: array<vec2f>;
@group(0) @binding(4) var<storage, read> largest: array<u32>;
@group(0) @binding(5) var<storage, read_write> listed: array<u32>;
@group(0) @binding(6) var<storage, read_write> listed_span: array<vec2u>;
@group(0) @binding(7) var<storage, read_write> whole: array<u32>;
${halfError(width)}
${SUMMARY}
${counters(threads)}
${candidates(shape)}
${shortlist(shape, true)}

${eachRow(
	threads,
	`	let first = chunk_row * ${room}u;
	// Summaries are of what pre-activations are at the most; the k-th largest may be lower than that by twice the error.
	let found = shortlist(thread, chunk_row, 0u, chunk.d_sae, k, 2.0 * half_error(row));
	let fits = found <= ${room}u;
	for (var c = thread; fits && c < found; c += ${threads}u) { listed[first + c] = candidate_index[c]; }
	if (thread == 0u) {
		listed_span[chunk_row] = vec2u(first, select(first, first + found, fits));
		whole[chunk_row] = select(1u, 0u, fits);
	}`,
)}
`;
}

/**
 * Pre-activations of whole rows, in float32, where the list had no room.
 * Bindings: uniform { first row of the chunk, rows, first latent, latents, width / 4, stride }, whole [rows], xc, a shard of
 * W_enc, b_enc, pre [rows, stride]. One workgroup per row.
 */
export function wholeRows(threads: number): string {
	return /* wgsl */ `
${GROUP_INDEX}
struct Part { first_row: u32, rows: u32, start: u32, count: u32, pitch: u32, stride: u32, unused0: u32, unused1: u32 }
@group(0) @binding(0) var<uniform> part: Part;
@group(0) @binding(1) var<storage, read> whole: array<u32>;
@group(0) @binding(2) var<storage, read> xc: array<vec4f>;
@group(0) @binding(3) var<storage, read> w_enc: array<vec4f>;
@group(0) @binding(4) var<storage, read> b_enc: array<f32>;
@group(0) @binding(5) var<storage, read_write> pre: array<f32>;

@compute @workgroup_size(${threads})
fn main(@builtin(workgroup_id) group: vec3u, @builtin(num_workgroups) groups: vec3u, @builtin(local_invocation_index) thread: u32) {
	let row = group_index(group, groups);
	if (row >= part.rows || whole[row] == 0u) { return; }
	let x = (part.first_row + row) * part.pitch;
	for (var latent = thread; latent < part.count; latent += ${threads}u) {
		let w = latent * part.pitch;
		var sum = 0.0;
		for (var column = 0u; column < part.pitch; column++) { sum += dot(xc[x + column], w_enc[w + column]); }
		pre[row * part.stride + part.start + latent] = sum + b_enc[part.start + latent];
	}
}
`;
}

/**
 * Bindings: step uniform, chunk uniform, pre, candidates, their products with the row, their span, whole [rows], b_enc,
 * index, value, span. One workgroup per row; entries as of `selectTopK`.
 */
export function rankListed(given: SummarisedTopK): string {
	const shape = { ...given, scan: "summaries" } as const;
	const { threads, magnitude = false } = shape;
	return /* wgsl */ `
${STEP_PARAMS}
${CHUNK}
@group(0) @binding(0) var<uniform> step: Step;
@group(0) @binding(2) var<storage, read> pre: array<f32>;
@group(0) @binding(3) var<storage, read> listed: array<u32>;
@group(0) @binding(4) var<storage, read> product: array<f32>;
@group(0) @binding(5) var<storage, read> listed_span: array<vec2u>;
@group(0) @binding(6) var<storage, read> whole: array<u32>;
@group(0) @binding(7) var<storage, read> b_enc: array<f32>;
@group(0) @binding(8) var<storage, read_write> out_index: array<u32>;
@group(0) @binding(9) var<storage, read_write> out_value: array<f32>;
@group(0) @binding(10) var<storage, read_write> span: array<vec2u>;
${keyFunction(shape)}
${latentFunctions(shape)}
${counters(threads)}
${candidates(shape)}
${rankCandidates(shape, magnitude ? "product[base + c] + b_enc[index]" : "bitcast<f32>(candidate_key[c])")}
${selectSlowly(shape)}

${eachRow(
	threads,
	`	let first = chunk.entry + row * chunk.room;
	let entries = listed_span[chunk_row];
	let found = entries.y - entries.x;
	var kept = 0u;
	if (whole[chunk_row] == 0u) {
		for (var c = thread; c < found; c += ${threads}u) {
			let index = listed[entries.x + c];
			candidate_index[c] = index;
			candidate_key[c] = key(product[entries.x + c] + b_enc[index]);
		}
		workgroupBarrier();
		kept = rank_candidates(thread, entries.x, first, found, k);
	} else {
		kept = select_slowly(thread, chunk_row * chunk.stride, first, count(), k);
	}
	if (thread == 0u) { span[chunk.code_row + row] = vec2u(first, first + kept); }`,
)}
`;
}
