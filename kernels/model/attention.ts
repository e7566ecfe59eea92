/**
 * Causal attention of sequences that lie behind each other, without their padding. The softmax is made as keys come
 * (Milakov and Gimelshein 2018; Dao et al. 2022), so that no [positions, positions] is ever held.
 */
import { literal, unroll } from "../wgsl.ts";

export interface AttentionShape {
	readonly d_head: number;
	/** Heads of the queries that share keys and values. */
	readonly group: number;
	/** Numbers per row of queries and result, and of keys and values. */
	readonly stride: number;
	readonly keyStride: number;
	readonly scale: number;
	/** Scores become cap · tanh(score / cap); 0: they stay. */
	readonly softcap: number;
	/** Keys that a query sees, itself included; 0: all up to itself. */
	readonly window: number;
}

/**
 * How a workgroup's threads share a block of queries: `lines` × `columns` threads, each with `rows` queries. With one
 * column and one row, threads work by themselves and never wait: software drivers take minutes to compile anything else.
 */
export interface AttentionTile {
	readonly lines: number;
	readonly columns: number;
	readonly rows: number;
}

/** Keys that a thread scores at a time. */
const KEYS = 4;

export function attentionTile(info: { readonly software: boolean }, d_head: number): AttentionTile {
	if (info.software) return { lines: 8, columns: 1, rows: 1 };
	// A thread's part of the result stays in registers.
	return { lines: 8, columns: 8, rows: d_head > 128 ? 2 : 4 };
}

/** Queries of a workgroup. */
export function blockRows({ lines, rows }: AttentionTile): number {
	return lines * rows;
}

/**
 * Bindings: blocks { first query's row, queries, row of the sequence's first key, first query's position }, q [rows,
 * stride], k and v [rows, keyStride], out [rows, stride]. Grid: heads × blocks.
 */
export function attendBlocks(shape: AttentionShape, tile: AttentionTile): string {
	return tile.columns * tile.rows === 1 ? alone(shape, tile.lines) : shared(shape, tile);
}

/** Each thread has a query of its own. */
function alone(shape: AttentionShape, lines: number): string {
	const { stride, keyStride, group, window } = shape;
	const { lane, type, lanes } = lanesOf(shape);
	return /* wgsl */ `
${bindings(type)}
@compute @workgroup_size(${lines})
fn main(@builtin(workgroup_id) group: vec3u, @builtin(local_invocation_index) line: u32) {
	let block = blocks[group.y];
	if (line >= block.y) { return; }
	let position = block.w + line;
	let from_ = (block.x + line) * ${stride / lane}u + group.x * ${lanes}u;
	let key_at = group.x / ${group}u * ${lanes}u;
	// A number of loops that the compiler does not know: it would write them all out, and take seconds for it.
	let lanes = select(${lanes}u, 0u, block.y == 0u);
	var top = LOWEST;
	var total = 0.0;
	var sums: array<${type}, ${lanes}>;
	for (var key = ${window > 0 ? `position + 1u - min(position + 1u, ${window}u)` : "0u"}; key <= position; key++) {
		let at = (block.z + key) * ${keyStride / lane}u + key_at;
		var score = 0.0;
		for (var d = 0u; d < lanes; d++) { score += ${product(lane, "q[from_ + d]", "k[at + d]")}; }
		score = ${scored(shape, "score")};
		let before = top;
		top = max(top, score);
		let fade = exp(before - top);
		let weight = exp(score - top);
		total = total * fade + weight;
		for (var d = 0u; d < lanes; d++) { sums[d] = sums[d] * fade + weight * v[at + d]; }
	}
	for (var d = 0u; d < lanes; d++) { out[from_ + d] = sums[d] / total; }
}
`;
}

/** Numbers that are read at a time: as many as a head divides into. */
function lanesOf({ d_head }: AttentionShape) {
	const lane = d_head % 4 === 0 ? 4 : d_head % 2 === 0 ? 2 : 1;
	return { lane, type: lane === 1 ? "f32" : `vec${lane}f`, lanes: d_head / lane };
}

function product(lane: number, a: string, b: string): string {
	return lane === 1 ? `${a} * ${b}` : `dot(${a}, ${b})`;
}

/** WGSL of scores, of products of queries and keys. */
export function scored({ scale, softcap }: AttentionShape, sum: string): string {
	const scaled = `${sum} * ${literal(scale)}`;
	return softcap > 0 ? `${literal(softcap)} * tanh(${scaled} / ${literal(softcap)})` : scaled;
}

const bindings = (type: string) => /* wgsl */ `
@group(0) @binding(0) var<storage, read> blocks: array<vec4u>;
@group(0) @binding(1) var<storage, read> q: array<${type}>;
@group(0) @binding(2) var<storage, read> k: array<${type}>;
@group(0) @binding(3) var<storage, read> v: array<${type}>;
@group(0) @binding(4) var<storage, read_write> out: array<${type}>;
const LOWEST = -1e30;
`;

/** Threads of a line share its queries: each scores some keys, and sums some columns of the values. */
function shared(shape: AttentionShape, tile: AttentionTile): string {
	const { group, stride, keyStride, window } = shape;
	const { lines, columns, rows } = tile;
	const { lane, type, lanes } = lanesOf(shape);
	const perThread = Math.ceil(lanes / columns);
	const keys = KEYS * columns;
	const eachRow = (text: (i: number) => string) => unroll(rows, text);
	const eachLane = (text: (j: number) => string) => unroll(perThread, text);
	const within = (j: number, text: string) =>
		(j + 1) * columns <= lanes ? text : `if (column + ${j * columns}u < ${lanes}u) { ${text} }`;
	return /* wgsl */ `
${bindings(type)}
var<workgroup> weights: array<f32, ${lines * rows * keys}>;
var<workgroup> largest: array<f32, ${lines * rows * columns}>;
var<workgroup> sums: array<f32, ${lines * rows * columns}>;

@compute @workgroup_size(${lines * columns})
fn main(@builtin(workgroup_id) group: vec3u, @builtin(local_invocation_index) thread: u32) {
	let block = blocks[group.y];
	let head = group.x;
	let column = thread % ${columns}u;
	let line = thread / ${columns}u * ${rows}u;
	let last = block.w + block.y - 1u;
	let key_at = head / ${group}u * ${lanes}u;
	${eachRow(
		(i) => `
	// Past the block's end a thread repeats the last query, and writes nothing.
	let query${i} = min(line + ${i}u, block.y - 1u);
	let position${i} = block.w + query${i};
	let from${i} = (block.x + query${i}) * ${stride / lane}u + head * ${lanes}u;
	var top${i} = LOWEST;
	var total${i} = 0.0;
	${eachLane((j) => `var out${i}_${j} = ${type}();`)}`,
	)}
	let first = ${window > 0 ? `block.w + 1u - min(block.w + 1u, ${window}u)` : "0u"};
	for (var tile = first; tile <= last; tile += ${keys}u) {
		${unroll(
			KEYS,
			(t) => `
		let key${t} = tile + column + ${t * columns}u;
		let at${t} = (block.z + min(key${t}, last)) * ${keyStride / lane}u + key_at;
		${eachRow((i) => `var score${i}_${t} = 0.0;`)}`,
		)}
		for (var d = 0u; d < ${lanes}u; d++) {
			${unroll(KEYS, (t) => `let k${t} = k[at${t} + d];`)}
			${eachRow(
				(i) => `{ let mine = q[from${i} + d];
				${unroll(KEYS, (t) => `score${i}_${t} += ${product(lane, "mine", `k${t}`)};`)} }`,
			)}
		}
		${eachRow(
			(i) => `
		${unroll(KEYS, (t) => {
			const capped = scored(shape, `score${i}_${t}`);
			const outside = window > 0 ? ` || key${t} + ${window}u <= position${i}` : "";
			return `let hidden${i}_${t} = key${t} > position${i}${outside};
		score${i}_${t} = select(${capped}, LOWEST, hidden${i}_${t});`;
		})}
		largest[(line + ${i}u) * ${columns}u + column] = max(max(score${i}_0, score${i}_1), max(score${i}_2, score${i}_3));`,
		)}
		workgroupBarrier();
		${eachRow(
			(i) => `
		let before${i} = top${i};
		for (var c = 0u; c < ${columns}u; c++) { top${i} = max(top${i}, largest[(line + ${i}u) * ${columns}u + c]); }
		${unroll(
			KEYS,
			(t) => `
		let weight${i}_${t} = select(exp(score${i}_${t} - top${i}), 0.0, hidden${i}_${t});
		weights[(line + ${i}u) * ${keys}u + column + ${t * columns}u] = weight${i}_${t};`,
		)}
		sums[(line + ${i}u) * ${columns}u + column] = (weight${i}_0 + weight${i}_1) + (weight${i}_2 + weight${i}_3);`,
		)}
		workgroupBarrier();
		${eachRow(
			(i) => `
		let fade${i} = exp(before${i} - top${i});
		total${i} *= fade${i};
		for (var c = 0u; c < ${columns}u; c++) { total${i} += sums[(line + ${i}u) * ${columns}u + c]; }
		${eachLane((j) => `out${i}_${j} *= fade${i};`)}`,
		)}
		for (var key = 0u; key < min(${keys}u, last - tile + 1u); key++) {
			let value_at = (block.z + tile + key) * ${keyStride / lane}u + key_at + column;
			${eachLane((j) => `var value${j} = ${type}(); ${within(j, `value${j} = v[value_at + ${j * columns}u];`)}`)}
			${eachRow(
				(i) => `{ let weight = weights[(line + ${i}u) * ${keys}u + key];
				${eachLane((j) => `out${i}_${j} += weight * value${j};`)} }`,
			)}
		}
	}
	${eachRow(
		(i) => `
	if (line + ${i}u < block.y) {
		let to = from${i} + column;
		${eachLane((j) => within(j, `out[to + ${j * columns}u] = out${i}_${j} / total${i};`))}
	}`,
	)}
}
`;
}
