/**
 * The encoder product: pre = xc · W_encᵀ + b_enc, the one dense product of a step; and plain products of the same
 * tiles, for the few architectures that have dense matrices besides.
 *
 * Both operands are contiguous along the inner dimension. Beside the pre-activations it writes the largest of
 * every four neighbours, which lets the selection skip most of what it would have to read.
 */
import { unroll } from "./wgsl.ts";

/** Neighbouring latents summarised by one maximum. */
export const GROUP = 4;

/** Shape of the work of one workgroup. */
export interface Tile {
	/** Rows and latents per workgroup. */
	readonly rows: number;
	readonly latents: number;
	/** Inner dimension per round; 0: operands come straight from memory, which suits CPUs and small GPUs. */
	readonly depth: number;
	/** Rows and latents per thread, multiples of four. */
	readonly threadRows: number;
	readonly threadLatents: number;
}

/** Fastest of fifteen on an H200: 39 TFLOP/s at 4096 × 768 × 32768. */
export const STAGED_TILE: Tile = { rows: 128, latents: 128, depth: 16, threadRows: 16, threadLatents: 8 };
/**
 * For software drivers: SwiftShader is slow at workgroup memory and barriers, and lavapipe compiles the staged tile for
 * seconds and then runs it little faster.
 */
export const DIRECT_TILE: Tile = { rows: 64, latents: 64, depth: 0, threadRows: 8, threadLatents: 4 };

/**
 * What is worth trying on a GPU. All are staged, and so add the same products in the same order: which of them a device
 * runs changes no bit.
 */
export const STAGED_TILES: readonly Tile[] = [
	STAGED_TILE,
	{ rows: 64, latents: 128, depth: 16, threadRows: 8, threadLatents: 8 },
	{ rows: 128, latents: 64, depth: 16, threadRows: 8, threadLatents: 8 },
	{ rows: 64, latents: 64, depth: 16, threadRows: 8, threadLatents: 8 },
	{ rows: 128, latents: 128, depth: 8, threadRows: 8, threadLatents: 8 },
	{ rows: 64, latents: 64, depth: 16, threadRows: 4, threadLatents: 4 },
	{ rows: 32, latents: 64, depth: 16, threadRows: 4, threadLatents: 4 },
];

/** Tiles for products of many and of few numbers: large ones leave a large device idle where there are few. */
export interface Tiles {
	readonly large: Tile;
	readonly small: Tile;
}

/** Products of fewer numbers are small. */
const LARGE = 2 ** 22;

export function defaultTiles({ software }: { readonly software: boolean }): Tiles {
	return software
		? { large: DIRECT_TILE, small: DIRECT_TILE }
		: { large: STAGED_TILE, small: { rows: 64, latents: 64, depth: 16, threadRows: 8, threadLatents: 8 } };
}

/** The tile for a product of rows × columns numbers. */
export function tileFor({ tiles }: { readonly tiles: Tiles }, rows: number, columns: number): Tile {
	return rows * columns < LARGE ? tiles.small : tiles.large;
}

export function tileGroups(
	tile: Pick<Tile, "rows" | "latents">,
	rows: number,
	latents: number,
): [number, number, number] {
	return [latents / tile.latents, rows / tile.rows, 1];
}

/**
 * Bindings: uniform { first row of xc, first latent, width / 4, stride / 4 }, xc [rows, width], W_enc shard [latents,
 * width], b_enc, pre [rows, stride], maxima [rows, stride / 4]. Accumulates in float32. The sizes are not part of the
 * code, so that one compilation serves every SAE.
 */
export function encoderProduct(tile: Tile, maximaOf: MaximaOf = "value"): string {
	return tiled(tile, header(maximaOf));
}

/**
 * The same of the dead latents' encoders alone, gathered (gather-dead.ts): tiles past their number are left out.
 * Bindings: uniform { first row of xc, first place, width / 4, stride / 4 }, xc, a shard of gathered W_enc, gathered
 * b_enc, pre [rows, stride], list { count, latents… }.
 */
export function deadProduct(tile: Tile): string {
	return tiled(tile, DEAD_HEADER);
}

/** What becomes of a product A · Bᵀ: it is the result, with a row added to each, is added to it, or is taken from another array. */
export type ProductUse = "set" | "bias" | "add" | "subtract";

/**
 * Bindings: uniform { 0, 0, width / 4, stride / 4 }, A [rows, width], B [columns, width], out [rows, stride], and with
 * `bias` a row [stride], with `subtract` from [rows, stride]. Rows come in whole tiles; columns past the stride are left out.
 */
export function denseProduct(tile: Tile, use: ProductUse): string {
	return tiled(tile, denseHeader(use));
}

function tiled(tile: Tile, head: string): string {
	return tile.depth === 0 ? direct(tile, head) : staged(tile, head);
}

/** What the maxima are of: the pre-activations or their absolute values. */
export type MaximaOf = "value" | "magnitude";

const header = (maximaOf: MaximaOf) => /* wgsl */ `
struct Place { row: u32, latent: u32, pitch: u32, stride: u32 }
@group(0) @binding(0) var<uniform> place: Place;
@group(0) @binding(1) var<storage, read> xc: array<vec4f>;
@group(0) @binding(2) var<storage, read> w_enc: array<vec4f>;
@group(0) @binding(3) var<storage, read> b_enc: array<vec4f>;
@group(0) @binding(4) var<storage, read_write> pre: array<vec4f>;
@group(0) @binding(5) var<storage, read_write> maxima: array<f32>;

fn skipped(first: u32) -> bool { return false; }
fn store(row: u32, shard_latent: u32, product: vec4f) {
	let column = (place.latent + shard_latent) / 4u;
	let value = product + b_enc[column];
	let at = row * place.stride + column;
	pre[at] = value;
	let size = ${maximaOf === "value" ? "value" : "abs(value)"};
	maxima[at] = max(max(size.x, size.y), max(size.z, size.w));
}
`;

const DEAD_HEADER = /* wgsl */ `
struct Place { row: u32, latent: u32, pitch: u32, stride: u32 }
@group(0) @binding(0) var<uniform> place: Place;
@group(0) @binding(1) var<storage, read> xc: array<vec4f>;
@group(0) @binding(2) var<storage, read> w_enc: array<vec4f>;
@group(0) @binding(3) var<storage, read> b_enc: array<vec4f>;
@group(0) @binding(4) var<storage, read_write> pre: array<vec4f>;
@group(0) @binding(5) var<storage, read> list: array<u32>;

fn skipped(first: u32) -> bool { return place.latent + first >= list[0]; }
fn store(row: u32, shard_place: u32, product: vec4f) {
	let column = (place.latent + shard_place) / 4u;
	pre[row * place.stride + column] = product + b_enc[column];
}
`;

/** The operands have the names that the tiles know them by. */
const denseHeader = (use: ProductUse) => /* wgsl */ `
struct Place { row: u32, latent: u32, pitch: u32, stride: u32 }
@group(0) @binding(0) var<uniform> place: Place;
@group(0) @binding(1) var<storage, read> xc: array<vec4f>;
@group(0) @binding(2) var<storage, read> w_enc: array<vec4f>;
@group(0) @binding(3) var<storage, read_write> out: array<vec4f>;
${use === "subtract" || use === "bias" ? "@group(0) @binding(4) var<storage, read> other: array<vec4f>;" : ""}

fn skipped(first: u32) -> bool { return false; }
fn store(row: u32, latent: u32, product: vec4f) {
	let column = latent / 4u;
	if (column >= place.stride) { return; }
	let at = row * place.stride + column;
	out[at] = ${
		{
			set: "product",
			bias: "product + other[column]",
			add: "out[at] + product",
			subtract: "other[at] - product",
		}[use]
	};
}
`;

/** Operands straight from memory: each thread owns `threadRows` rows by four latents. */
function direct(tile: Tile, head: string): string {
	const { threadRows } = tile;
	return /* wgsl */ `
${head}
@compute @workgroup_size(${tile.latents / 4}, ${tile.rows / threadRows})
fn main(@builtin(workgroup_id) group: vec3u, @builtin(local_invocation_id) local: vec3u) {
	if (skipped(group.x * ${tile.latents}u)) { return; }
	let row = group.y * ${tile.rows}u + local.y * ${threadRows}u;
	let latent = group.x * ${tile.latents}u + local.x * 4u;
	let depth = place.pitch;
	let a = (place.row + row) * depth;
	let b = latent * depth;
	${unroll(threadRows, (i) => `var acc${i} = vec4f();`)}
	for (var k = 0u; k < depth; k++) {
		${unroll(4, (j) => `let b${j} = w_enc[b + ${j}u * depth + k];`)}
		${unroll(threadRows, (i) => `let a${i} = xc[a + ${i}u * depth + k];`)}
		${unroll(threadRows, (i) => `acc${i} += vec4f(dot(a${i}, b0), dot(a${i}, b1), dot(a${i}, b2), dot(a${i}, b3));`)}
	}
	${unroll(threadRows, (i) => `store(row + ${i}u, latent, acc${i});`)}
}
`;
}

/** Tiles of rows that share their latents' tiles: workgroups run in this order so that both stay in cache. */
const BAND = 8;
/** Inner steps written out at a time. */
const UNROLLED = 2;

/**
 * Operands staged through workgroup memory, transposed on the way in so that every read there is a vec4.
 * A thread's rows and latents come in runs of four, half a tile apart, which avoids bank conflicts.
 */
function staged(tile: Tile, head: string): string {
	const { rows, latents, depth, threadRows, threadLatents } = tile;
	const columns = latents / threadLatents;
	const threads = columns * (rows / threadRows);
	const rowRuns = threadRows / 4;
	const latentRuns = threadLatents / 4;
	const stage = (name: string, source: string, first: string, extent: number) => {
		const blocks = (extent / 4) * (depth / 4);
		return /* wgsl */ `
		for (var block = thread; block < ${blocks}u; block += ${threads}u) {
			let run = block % ${extent / 4}u;
			let quad = block / ${extent / 4}u;
			let at = (${first} + run * 4u) * place.pitch + k + quad;
			let m = transpose(mat4x4f(${source}[at], ${source}[at + place.pitch], ${source}[at + 2u * place.pitch], ${source}[at + 3u * place.pitch]));
			let to = quad * ${extent}u + run;
			${unroll(4, (j) => `${name}[to + ${(j * extent) / 4}u] = m[${j}];`)}
		}`;
	};
	const acc = (i: number, j: number) => `acc${i}_${j}`;
	const inner = (step: number) => `{
				let at = d + ${step}u;
				${unroll(rowRuns, (r) => `let a${r} = a_tile[at * ${rows / 4}u + line + ${(r * rows) / 4 / rowRuns}u];`)}
				${unroll(latentRuns, (j) => `let b${j} = b_tile[at * ${latents / 4}u + column + ${(j * latents) / 4 / latentRuns}u];`)}
				${unroll(threadRows, (i) => unroll(latentRuns, (j) => `${acc(i, j)} += a${Math.floor(i / 4)}[${i % 4}] * b${j};`))}
			}`;
	return /* wgsl */ `
${head}
var<workgroup> a_tile: array<vec4f, ${(rows * depth) / 4}>;
var<workgroup> b_tile: array<vec4f, ${(latents * depth) / 4}>;

@compute @workgroup_size(${threads})
fn main(@builtin(workgroup_id) group: vec3u, @builtin(num_workgroups) groups: vec3u, @builtin(local_invocation_index) thread: u32) {
	let number = group.y * groups.x + group.x;
	let band = number / (${BAND}u * groups.x) * ${BAND}u;
	let band_rows = min(groups.y - band, ${BAND}u);
	let place_in_band = number % (${BAND}u * groups.x);
	let first_row = (band + place_in_band % band_rows) * ${rows}u;
	let first_latent = (place_in_band / band_rows) * ${latents}u;
	if (skipped(first_latent)) { return; }
	let column = thread % ${columns}u;
	let line = thread / ${columns}u;
	${unroll(threadRows, (i) => unroll(latentRuns, (j) => `var ${acc(i, j)} = vec4f();`))}
	for (var k = 0u; k < place.pitch; k += ${depth / 4}u) {
		${stage("a_tile", "xc", "place.row + first_row", rows)}
		${stage("b_tile", "w_enc", "first_latent", latents)}
		workgroupBarrier();
		for (var d = 0u; d < ${depth}u; d += ${UNROLLED}u) {
			${unroll(UNROLLED, inner)}
		}
		workgroupBarrier();
	}
	${unroll(threadRows, (i) =>
		unroll(
			latentRuns,
			(j) =>
				`store(first_row + line * 4u + ${Math.floor(i / 4) * (rows / rowRuns) + (i % 4)}u, first_latent + column * 4u + ${(j * latents) / latentRuns}u, ${acc(i, j)});`,
		),
	)}
}
`;
}
