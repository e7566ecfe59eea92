/**
 * Exact, deterministic top-k of each row of pre-activations; only positive values are kept, since ReLU follows, or
 * by magnitude, all but zeros.
 *
 * Candidates are summarised by buckets: the k-th largest bucket maximum is a lower bound for the k-th largest
 * value, and for values in no special order barely more than k candidates pass it. Those are ranked exactly
 * (value descending, then index ascending). Rows that leave too many candidates, such as many equal values, take
 * a slower exact path: bisection on the bits of the value over the whole row.
 */

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
import { STEP_PARAMS } from "./wgsl.ts";

/**
 * Bindings: step uniform, chunk uniform (topk-parts.ts), pre [rows, stride], then `maxima` [rows, stride / 4] or the
 * list { count, latents… }, index [entries], value [entries], span [code rows] (first entry, end).
 * One workgroup per row. Entries of a row are written by ascending index, from row · room.
 */
export function selectTopK(shape: TopKShape): string {
	const { threads, scan, magnitude = false } = shape;
	return /* wgsl */ `
${STEP_PARAMS}
${CHUNK}
@group(0) @binding(0) var<uniform> step: Step;
@group(0) @binding(2) var<storage, read> pre: array<f32>;
@group(0) @binding(3) var<storage, read> ${scan === "maxima" ? "maxima: array<f32>" : "list: array<u32>"};
@group(0) @binding(4) var<storage, read_write> out_index: array<u32>;
@group(0) @binding(5) var<storage, read_write> out_value: array<f32>;
@group(0) @binding(6) var<storage, read_write> span: array<vec2u>;
${keyFunction(shape)}
${latentFunctions(shape)}
${counters(threads)}
${candidates(shape)}
${shortlist(shape, false)}
${rankCandidates(shape, magnitude ? "pre_at(base, index)" : "bitcast<f32>(candidate_key[c])")}
${selectSlowly(shape)}

${eachRow(
	threads,
	`	let base = chunk_row * chunk.stride;
	let first = chunk.entry + row * chunk.room;
	let n = count();
	if (n == 0u) {
		if (thread == 0u) { span[chunk.code_row + row] = vec2u(first, first); }
		return;
	}
	let found = shortlist(thread, chunk_row, base, n, k);
	var kept = 0u;
	if (found <= ${candidateRoom(shape)}u) {
		kept = rank_candidates(thread, base, first, found, k);
	} else {
		kept = select_slowly(thread, base, first, n, k);
	}
	if (thread == 0u) { span[chunk.code_row + row] = vec2u(first, first + kept); }`,
)}
`;
}
