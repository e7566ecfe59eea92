/**
 * Attention on tensor cores, of queries, keys and values in parts of float16 (split.ts). A first pass over the keys finds
 * every query's largest score, a second one weighs the values with it: sums stay in the matrices that the hardware
 * adds to, of which no thread knows which elements it holds, so that nothing can be scaled anew on the way.
 */
import { SUBGROUP } from "../tensor-product.ts";
import { unroll } from "../wgsl.ts";
import { type AttentionShape, scored } from "./attention.ts";

/** The matrices that the hardware multiplies. */
const SIDE = 16;
/** Elements of float16 that a thread moves at a time, and that rows of shared memory are padded by. */
const MOVED = 8;
const SUBGROUPS = 4;

/** Queries of a workgroup: sixteen for each subgroup. */
export const TENSOR_QUERIES = SUBGROUPS * SIDE;

/** Keys at a time. */
function keysFor(d_head: number): number {
	return d_head > 64 ? 32 : 64;
}

/** Of units of sixteen bytes of shared memory: those of a row of a head, of a row of scores, and all that rows are staged in. */
function unitsOf(d_head: number, parts: 1 | 2, keys = keysFor(d_head)) {
	const head = (d_head * parts) / MOVED;
	const strip = keys / 4 + 1;
	return { head, strip, staged: Math.max(TENSOR_QUERIES, keys) * (head + 1) };
}

/** Whether heads have a size that this is for, and workgroups `memory` enough to share, in bytes. */
export function fitsTensors(
	{ d_head }: Pick<AttentionShape, "d_head">,
	parts: 1 | 2,
	memory: number,
): boolean {
	const { strip, staged } = unitsOf(d_head, parts);
	const shared = 16 * (staged + TENSOR_QUERIES * strip) + 8 * keysFor(d_head) + 4 * SUBGROUPS;
	// A subgroup holds its queries and its result all the time.
	return d_head % SIDE === 0 && d_head <= 128 && shared <= memory;
}

/**
 * Bindings: blocks as in attention.ts, halves of q [rows, stride · parts], of k and of v [rows, keyStride · parts],
 * the inverse scales of their rows, out [rows, stride]. Grid: heads × blocks. `keys` at a time, a multiple of sixteen.
 */
export function attendHalves(shape: AttentionShape, parts: 1 | 2, keys = keysFor(shape.d_head)): string {
	const { d_head, group, stride, keyStride, window } = shape;
	const threads = SUBGROUPS * SUBGROUP;
	const depth = d_head / SIDE;
	const across = keys / SIDE;
	const { head: headUnits, strip, staged } = unitsOf(d_head, parts, keys);
	const pitch = headUnits + 1;
	const step = SIDE / MOVED;
	/** What a lane holds of a row of scores, in vectors of four: a half. */
	const fours = keys / 8;
	const eachPart = (text: (p: number) => string) => unroll(parts, text);
	/** Rows of a head from memory, past the last of them that one again. */
	const stage = (
		from: string,
		rows: number,
		row: (at: string) => string,
		rowUnits: number,
		at: string,
	) => /* wgsl */ `
	for (var unit = thread; unit < ${rows * headUnits}u; unit += ${threads}u) {
		let row = unit / ${headUnits}u;
		let i = unit % ${headUnits}u;
		staged[row * ${pitch}u + i] = ${from}[${row("row")} * ${rowUnits}u + ${at} + i];
	}
	workgroupBarrier();`;
	const load = (side: "left" | "right", order: string, at: string, pitch: number) =>
		`subgroupMatrixLoad<subgroup_matrix_${side}<f16, ${SIDE}, ${SIDE}>, ${order}>(&staged, ${at}, ${pitch}u)`;
	const loadScores = (at: string) =>
		`subgroupMatrixLoad<subgroup_matrix_left<f16, ${SIDE}, ${SIDE}>, row_major>(&scores, ${at}, ${strip}u)`;
	/** All products of parts but that of two second ones, which float32 would lose. */
	const multiply = (a: (p: number) => string, b: (p: number) => string, sum: string) =>
		eachPart((p) =>
			eachPart((q) =>
				p + q > 1 ? "" : `${sum} = subgroupMatrixMultiplyAccumulate(${a(p)}, ${b(q)}, ${sum});`,
			),
		);
	const keyRow = (at: string) => `(block.z + min(tile + ${at}, last))`;
	const makeScores = /* wgsl */ `
		${stage("k", keys, keyRow, (keyStride * parts) / MOVED, `key_at`)}
		${unroll(
			across,
			(j) => `{
			var sum: subgroup_matrix_result<f32, ${SIDE}, ${SIDE}>;
			${unroll(
				depth,
				(d) => `{
				${eachPart((p) => `let b${p} = ${load("right", "col_major", `${j * SIDE * pitch + (d * parts + p) * step}u`, pitch)};`)}
				${multiply(
					(p) => `q${d}_${p}`,
					(q) => `b${q}`,
					"sum",
				)}
			}`,
			)}
			subgroupMatrixStore<row_major>(&scores, own + ${j * (SIDE / 4)}u, sum, ${strip}u);
		}`,
		)}
		workgroupBarrier();`;
	/** A lane's part of its row's scores, with what is hidden far below. */
	const score = (f: number) => {
		const outside = window > 0 ? ` | (key${f} + ${window}u <= vec4u(position))` : "";
		return /* wgsl */ `
		let key${f} = vec4u(tile + half * ${keys / 2}u + ${4 * f}u) + vec4u(0u, 1u, 2u, 3u);
		let hidden${f} = (key${f} > vec4u(position))${outside};
		let raw${f} = bitcast<vec4f>(scores[mine + half * ${fours}u + ${f}u]) * row_scale * key_scale[half * ${fours}u + ${f}u];
		let score${f} = select(${scored(shape, `raw${f}`)}, vec4f(LOWEST), hidden${f});`;
	};
	const weight = (f: number) => /* wgsl */ `
		let exact${f} = select(exp(score${f} - top), vec4f(), hidden${f});
		total += dot(exact${f}, vec4f(1.0));
		let scaled${f} = exact${f} * value_scale[half * ${fours}u + ${f}u];
		let high${f} = quantizeToF16(scaled${f});`;
	const packed = (f: number, part: number) => {
		const value = (four: number) => (part === 0 ? `high${four}` : `(scaled${four} - high${four})`);
		const words = [f, f + 1].flatMap((four) => [
			`pack2x16float(${value(four)}.xy)`,
			`pack2x16float(${value(four)}.zw)`,
		]);
		return `vec4u(${words.join(", ")})`;
	};
	const eachTile = (body: string) => /* wgsl */ `
	for (var tile = first; tile <= last; tile += ${keys}u) {
		${body}
	}`;
	return /* wgsl */ `
enable f16;
enable subgroups;
enable chromium_experimental_subgroup_matrix;
@group(0) @binding(0) var<storage, read> blocks: array<vec4u>;
@group(0) @binding(1) var<storage, read> q: array<vec4u>;
@group(0) @binding(2) var<storage, read> k: array<vec4u>;
@group(0) @binding(3) var<storage, read> v: array<vec4u>;
@group(0) @binding(4) var<storage, read> q_scale: array<f32>;
@group(0) @binding(5) var<storage, read> k_scale: array<f32>;
@group(0) @binding(6) var<storage, read> v_scale: array<f32>;
@group(0) @binding(7) var<storage, read_write> out: array<vec4f>;
const LOWEST = -1e30;
/** What weights are multiplied by, so that what is left of small ones is a number of float16. */
const LARGE = 16384.0;
var<workgroup> staged: array<vec4u, ${staged}>;
var<workgroup> scores: array<vec4u, ${TENSOR_QUERIES * strip}>;
var<workgroup> key_scale: array<vec4f, ${keys / 4}>;
var<workgroup> value_scale: array<vec4f, ${keys / 4}>;
var<workgroup> largest: array<f32, ${SUBGROUPS}>;

@compute @workgroup_size(${threads})
fn main(@builtin(workgroup_id) group: vec3u, @builtin(local_invocation_index) thread: u32, @builtin(subgroup_id) subgroup: u32, @builtin(subgroup_invocation_id) lane: u32) {
	let block = blocks[group.y];
	let last = block.w + block.y - 1u;
	let query_at = group.x * ${headUnits}u;
	let key_at = group.x / ${group}u * ${headUnits}u;
	let first = ${window > 0 ? `block.w + 1u - min(block.w + 1u, ${window}u)` : "0u"};
	let own = subgroup * ${SIDE * strip}u;
	// Two lanes share a query.
	let half = lane / ${SIDE}u;
	let query = subgroup * ${SIDE}u + lane % ${SIDE}u;
	let mine = query * ${strip}u;
	let position = block.w + query;
	let row_scale = q_scale[block.x + min(query, block.y - 1u)];
	${stage("q", TENSOR_QUERIES, (at) => `(block.x + min(${at}, block.y - 1u))`, (stride * parts) / MOVED, "query_at")}
	${unroll(depth, (d) => eachPart((p) => `let q${d}_${p} = ${load("left", "row_major", `subgroup * ${SIDE * pitch}u + ${(d * parts + p) * step}u`, pitch)};`))}
	workgroupBarrier();
	var top = LOWEST;
	var most = 0.0;
	${eachTile(/* wgsl */ `
		if (thread < ${keys / 4}u) {
			key_scale[thread] = four_scales_k(block.z, tile + 4u * thread, last);
			let four = four_scales_v(block.z, tile + 4u * thread, last);
			most = max(most, max(max(four.x, four.y), max(four.z, four.w)));
		}
		${makeScores}
		{
			${unroll(
				fours,
				(f) => `${score(f)}
			top = max(top, max(max(score${f}.x, score${f}.y), max(score${f}.z, score${f}.w)));`,
			)}
		}
		workgroupBarrier();`)}
	top = max(top, subgroupShuffleXor(top, ${SIDE}u));
	most = subgroupMax(most);
	if (lane == 0u) { largest[subgroup] = most; }
	workgroupBarrier();
	most = ${Array.from({ length: SUBGROUPS }, (_, i) => `largest[${i}]`).reduce((a, b) => `max(${a}, ${b})`)};
	var total = 0.0;
	${unroll(depth, (d) => `var sum${d}: subgroup_matrix_result<f32, ${SIDE}, ${SIDE}>;`)}
	${eachTile(/* wgsl */ `
		if (thread < ${keys / 4}u) {
			key_scale[thread] = four_scales_k(block.z, tile + 4u * thread, last);
			value_scale[thread] = four_scales_v(block.z, tile + 4u * thread, last) / most * LARGE;
		}
		${makeScores}
		{
			${unroll(fours, (f) => `${score(f)} ${weight(f)}`)}
			// Weights lie where the scores were, which everyone has read.
			workgroupBarrier();
			${unroll(fours / 2, (u) => eachPart((p) => `scores[mine + ${(p * keys) / MOVED + u}u + half * ${fours / 2}u] = ${packed(2 * u, p)};`))}
		}
		${stage("v", keys, keyRow, (keyStride * parts) / MOVED, "key_at")}
		${unroll(
			across,
			(j) => `{
			${eachPart((p) => `let a${p} = ${loadScores(`own + ${(p * keys) / MOVED + j * step}u`)};`)}
			${unroll(
				depth,
				(d) => `{
				${eachPart((p) => `let b${p} = ${load("right", "row_major", `${j * SIDE * pitch + (d * parts + p) * step}u`, pitch)};`)}
				${multiply(
					(p) => `a${p}`,
					(q) => `b${q}`,
					`sum${d}`,
				)}
			}`,
			)}
		}`,
		)}
		workgroupBarrier();`)}
	total += subgroupShuffleXor(total, ${SIDE}u);
	let share = most / (LARGE * total);
	let to = (block.x + query) * ${stride / 4}u + group.x * ${d_head / 4}u;
	${unroll(Math.ceil(depth / across), (round) => {
		const some = Math.min(across, depth - round * across);
		const each = (some * SIDE) / 8;
		return /* wgsl */ `
	${unroll(some, (j) => `subgroupMatrixStore<row_major>(&scores, own + ${j * (SIDE / 4)}u, sum${round * across + j}, ${strip}u);`)}
	workgroupBarrier();
	if (query < block.y) {
		for (var i = half * ${each}u; i < (half + 1u) * ${each}u; i++) {
			out[to + ${(round * across * SIDE) / 4}u + i] = bitcast<vec4f>(scores[mine + i]) * share;
		}
	}
	workgroupBarrier();`;
	})}
}
${["k", "v"]
	.map(
		(name) => /* wgsl */ `
fn four_scales_${name}(first: u32, key: u32, last: u32) -> vec4f {
	return vec4f(${[0, 1, 2, 3].map((i) => `${name}_scale[first + min(key + ${i}u, last)]`).join(", ")});
}`,
	)
	.join("")}
`;
}
