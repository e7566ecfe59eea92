/**
 * The encoder product on tensor cores: operands in float16, sums in float32. What it gives is off by up to
 * {@link ./halve.ts}'s bound, so that it only serves to find the few latents whose pre-activations matter; those are
 * computed again in float32. So it keeps no pre-activations, but a summary of every four neighbours.
 */
import { HALF_DEPTH, halfError } from "./halve.ts";
import { GROUP, type MaximaOf } from "./matmul.ts";
import { unroll } from "./wgsl.ts";

/** A product of halved rows, and how many rows and latents a workgroup makes of it. */
export interface HalfProduct {
	readonly rows: number;
	readonly latents: number;
	/**
	 * Bindings: uniform { first row of x, first latent, half width / 4, stride / 4 }, x's halves [rows, half width], the
	 * halves of a shard of W_enc [latents, half width], inverse scales of rows and of latents, norms of rows and the largest
	 * of latents (halve.ts), b_enc, summaries [rows, stride / 4]. `width`: padded d_in.
	 */
	code(maximaOf: MaximaOf, width: number): string;
}

/**
 * A summary of four bounds of pre-activations in 32 bits: the largest as a float32 whose last seven bits were rounded up, which
 * of the four it is, and in 31sts of it what the others keep below. 0: none is positive.
 */
export const SUMMARY = /* wgsl */ `
const SUMMARY_VALUE = 0xffffff80u;
const SUMMARY_PARTS = 31.0;
fn summary(v: vec4f) -> u32 {
	let left = max(v.x, v.y);
	let right = max(v.z, v.w);
	let most = max(left, right);
	if (most <= 0.0) { return 0u; }
	let low = select(min(v.z, v.w), min(v.x, v.y), left >= right);
	let next = max(max(min(left, right), low), 0.0);
	let parts = min(u32(next * (SUMMARY_PARTS / most) + 1.0), 31u);
	let which = select(select(3u, 2u, v.z >= v.w), select(1u, 0u, v.x >= v.y), left >= right);
	return ((bitcast<u32>(most) + 0x7fu) & SUMMARY_VALUE) | (parts << 2u) | which;
}
fn summary_others(word: u32) -> f32 { return bitcast<f32>(word & SUMMARY_VALUE) * (f32((word >> 2u) & 31u) / SUMMARY_PARTS); }
`;

/** How far the value of a summary is above the largest of the four, at the most: a share of it. */
export const SUMMARY_ERROR = 2 ** -16;

/** The bindings of a {@link HalfProduct}, and what becomes of pre-activations: summaries of what they are at the most. */
export function halfHeader(maximaOf: MaximaOf, width: number, element: string): string {
	return /* wgsl */ `
struct Place { row: u32, latent: u32, pitch: u32, stride: u32 }
@group(0) @binding(0) var<uniform> place: Place;
@group(0) @binding(1) var<storage, read> x_half: array<${element}>;
@group(0) @binding(2) var<storage, read> w_half: array<${element}>;
@group(0) @binding(3) var<storage, read> row_scale: array<f32>;
@group(0) @binding(4) var<storage, read> latent_scale: array<vec4f>;
@group(0) @binding(5) var<storage, read> row_norm: array<vec2f>;
@group(0) @binding(6) var<storage, read> largest: array<u32>;
@group(0) @binding(7) var<storage, read> b_enc: array<vec4f>;
@group(0) @binding(8) var<storage, read_write> summaries: array<u32>;
${SUMMARY}
${halfError(width)}
fn summarise(row: u32, pre: vec4f) -> u32 { return summary(${maximaOf === "value" ? "pre" : "abs(pre)"} + half_error(row)); }
`;
}

/** Elements of padding behind each row of a staged tile, against bank conflicts. */
const PAD = 8;
/** The matrices that the hardware multiplies. */
const SIDE = 16;
/** Elements of float16 that a thread moves at a time. */
const MOVED = 8;

export interface TensorTile {
	readonly rows: number;
	readonly latents: number;
	/** What one subgroup makes. */
	readonly subgroupRows: number;
	readonly subgroupLatents: number;
	/** Tiles of rows whose workgroups run side by side. */
	readonly band: number;
}

/** Fastest of two dozen on an H200. */
export const TENSOR_TILE: TensorTile = {
	rows: 128,
	latents: 128,
	subgroupRows: 64,
	subgroupLatents: 64,
	band: 32,
};

/** Threads of a subgroup: of every one on a device that this product is for. */
export const SUBGROUP = 32;

/** For devices with subgroup matrices of 16 × 16 × 16, float16 in and float32 out, in the syntax of current Dawn. */
export function tensorProduct(tile: TensorTile): HalfProduct {
	return {
		rows: tile.rows,
		latents: tile.latents,
		code: (maximaOf, error) => tensorCode(tile, maximaOf, error),
	};
}

/**
 * Tiles of both operands are staged through workgroup memory in units of sixteen bytes. Sums leave through the same
 * memory, sixteen rows of a subgroup at a time, for no thread knows which elements of a matrix it holds.
 */
function tensorCode(tile: TensorTile, maximaOf: MaximaOf, width: number): string {
	const { rows, latents, subgroupRows, subgroupLatents, band } = tile;
	const across = latents / subgroupLatents;
	const subgroups = across * (rows / subgroupRows);
	const threads = subgroups * SUBGROUP;
	const down = subgroupRows / SIDE;
	const wide = subgroupLatents / SIDE;
	// In units of workgroup memory.
	const pitch = (HALF_DEPTH + PAD) / MOVED;
	const depth = HALF_DEPTH / MOVED;
	const step = SIDE / MOVED;
	const strip = (subgroupLatents + 4) / 4;
	const fours = subgroupLatents / GROUP;
	const units = Math.max((rows + latents) * pitch, subgroups * SIDE * strip);
	const moves = (extent: number) => (extent * depth) / threads;
	const fetch = (name: string, from: string, first: string, extent: number) =>
		unroll(moves(extent), (i) => {
			const unit = `(thread + ${i * threads}u)`;
			return `let ${name}${i} = ${from}[(${first} + ${unit} / ${depth}u) * pitch + k + ${unit} % ${depth}u];`;
		});
	const put = (name: string, first: number, extent: number) =>
		unroll(moves(extent), (i) => {
			const unit = `(thread + ${i * threads}u)`;
			return `staged[${first}u + ${unit} / ${depth}u * ${pitch}u + ${unit} % ${depth}u] = ${name}${i};`;
		});
	const load = (side: "left" | "right", order: string, line: string, d: number) =>
		`subgroupMatrixLoad<subgroup_matrix_${side}<f16, ${SIDE}, ${SIDE}>, ${order}>(&staged, (${line}) * ${pitch}u + ${d * step}u, ${pitch}u)`;
	return /* wgsl */ `
enable f16;
enable subgroups;
enable chromium_experimental_subgroup_matrix;
${halfHeader(maximaOf, width, "vec4u")}
var<workgroup> staged: array<vec4u, ${units}>;

@compute @workgroup_size(${threads})
fn main(@builtin(workgroup_id) group: vec3u, @builtin(num_workgroups) groups: vec3u, @builtin(local_invocation_index) thread: u32, @builtin(subgroup_id) subgroup: u32, @builtin(subgroup_invocation_id) lane: u32) {
	let number = group.y * groups.x + group.x;
	let band = number / (${band}u * groups.x) * ${band}u;
	let band_rows = min(groups.y - band, ${band}u);
	let place_in_band = number % (${band}u * groups.x);
	let first_row = (band + place_in_band % band_rows) * ${rows}u;
	let first_latent = (place_in_band / band_rows) * ${latents}u;
	let top = subgroup / ${across}u * ${subgroupRows}u;
	let left = subgroup % ${across}u * ${subgroupLatents}u;
	let pitch = place.pitch / 2u;
	${unroll(down, (i) => unroll(wide, (j) => `var sum${i}_${j}: subgroup_matrix_result<f32, ${SIDE}, ${SIDE}>;`))}
	for (var k = 0u; k < pitch; k += ${depth}u) {
		${fetch("x", "x_half", "place.row + first_row", rows)}
		${fetch("w", "w_half", "first_latent", latents)}
		${put("x", 0, rows)}
		${put("w", rows * pitch, latents)}
		workgroupBarrier();
		${unroll(
			HALF_DEPTH / SIDE,
			(d) => `{
		${unroll(wide, (j) => `let b${j} = ${load("right", "col_major", `${rows + j * SIDE}u + left`, d)};`)}
		${unroll(
			down,
			(i) => `{
			let a = ${load("left", "row_major", `${i * SIDE}u + top`, d)};
			${unroll(wide, (j) => `sum${i}_${j} = subgroupMatrixMultiplyAccumulate(a, b${j}, sum${i}_${j});`)}
		}`,
		)}
		}`,
		)}
		workgroupBarrier();
	}
	let own = subgroup * ${SIDE * strip}u;
	let four = lane % ${fours}u;
	let column = (place.latent + first_latent + left) / 4u + four;
	let scales = latent_scale[column];
	let bias = b_enc[column];
	${unroll(
		down,
		(i) => /* wgsl */ `
	${unroll(wide, (j) => `subgroupMatrixStore<row_major>(&staged, own + ${j * (SIDE / 4)}u, sum${i}_${j}, ${strip}u);`)}
	workgroupBarrier();
	for (var line = lane / ${fours}u; line < ${SIDE}u; line += ${SUBGROUP / fours}u) {
		let row = first_row + top + ${i * SIDE}u + line;
		let from_ = place.row + row;
		let sums = bitcast<vec4f>(staged[own + line * ${strip}u + four]);
		summaries[row * place.stride + column] = summarise(from_, sums * (row_scale[from_] * scales) + bias);
	}
	workgroupBarrier();`,
	)}
}
`;
}
