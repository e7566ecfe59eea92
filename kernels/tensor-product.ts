/**
 * The encoder product on tensor cores: operands in float16, sums in float32. What it gives is off by up to
 * {@link ./halve.ts}'s bound, so that it only serves to find the few latents whose pre-activations matter; those are
 * computed again in float32.
 */
import { HALF_DEPTH } from "./halve.ts";
import { type MaximaOf, storePreActivation } from "./matmul.ts";
import { unroll } from "./wgsl.ts";

/** A product of halved rows, and how many rows and latents a workgroup makes of it. */
export interface HalfProduct {
	readonly rows: number;
	readonly latents: number;
	/**
	 * Bindings: uniform { first row of x, first latent, half width / 4, stride / 4 }, x's halves [rows, half width], the
	 * halves of a shard of W_enc [latents, half width], facts of rows and of latents (halve.ts), b_enc, pre [rows,
	 * stride], maxima [rows, stride / 4].
	 */
	code(maximaOf: MaximaOf): string;
}

/** Bindings of a {@link HalfProduct}, and `finish` for four sums of neighbouring latents. */
export function halfHeader(maximaOf: MaximaOf, element: string): string {
	return /* wgsl */ `
struct Place { row: u32, latent: u32, pitch: u32, stride: u32 }
@group(0) @binding(0) var<uniform> place: Place;
@group(0) @binding(1) var<storage, read> x_half: array<${element}>;
@group(0) @binding(2) var<storage, read> w_half: array<${element}>;
@group(0) @binding(3) var<storage, read> row_facts: array<vec2f>;
@group(0) @binding(4) var<storage, read> latent_facts: array<vec2f>;
@group(0) @binding(5) var<storage, read> b_enc: array<vec4f>;
@group(0) @binding(6) var<storage, read_write> pre: array<vec4f>;
@group(0) @binding(7) var<storage, read_write> maxima: array<f32>;
${storePreActivation(maximaOf)}

fn finish(row: u32, shard_latent: u32, sums: vec4f) {
	let at = place.latent + shard_latent;
	let latents = vec4f(latent_facts[at].x, latent_facts[at + 1u].x, latent_facts[at + 2u].x, latent_facts[at + 3u].x);
	store(row, shard_latent, sums * row_facts[place.row + row].x * latents);
}
`;
}

/** Elements of padding behind each row of a staged tile, against bank conflicts. */
const PAD = 8;
/** The matrices that the hardware multiplies. */
const SIDE = 16;

export interface TensorTile {
	readonly rows: number;
	readonly latents: number;
	/** What one subgroup makes. */
	readonly subgroupRows: number;
	readonly subgroupLatents: number;
	/** Tiles of rows whose workgroups run side by side. */
	readonly band: number;
}

export const TENSOR_TILE: TensorTile = {
	rows: 128,
	latents: 128,
	subgroupRows: 64,
	subgroupLatents: 64,
	band: 8,
};

/** Threads of a subgroup on the devices that have these matrices. */
const SUBGROUP = 32;

/** For devices with subgroup matrices of 16 × 16 × 16, float16 in and float32 out, in the syntax of current Dawn. */
export function tensorProduct(tile: TensorTile): HalfProduct {
	return { rows: tile.rows, latents: tile.latents, code: (maximaOf) => tensorCode(tile, maximaOf) };
}

function tensorCode(tile: TensorTile, maximaOf: MaximaOf): string {
	const { rows, latents, subgroupRows, subgroupLatents, band } = tile;
	const across = latents / subgroupLatents;
	const subgroups = across * (rows / subgroupRows);
	const threads = subgroups * SUBGROUP;
	const down = subgroupRows / SIDE;
	const wide = subgroupLatents / SIDE;
	const pitch = HALF_DEPTH + PAD;
	const strip = subgroupLatents + 4;
	const quads = HALF_DEPTH / 8;
	const stage = (to: string, from: string, first: string, extent: number) =>
		unroll(
			(extent * quads) / threads,
			(i) => /* wgsl */ `{
			let block = thread + ${i * threads}u;
			let line = block / ${quads}u;
			let quad = block % ${quads}u;
			let eight = ${from}[(${first} + line) * pitch + k + quad];
			let low = bitcast<vec4<f16>>(eight.xy);
			let high = bitcast<vec4<f16>>(eight.zw);
			let at = line * ${pitch}u + quad * 8u;
			${unroll(4, (j) => `${to}[at + ${j}u] = low[${j}];`)}
			${unroll(4, (j) => `${to}[at + ${j + 4}u] = high[${j}];`)}
		}`,
		);
	return /* wgsl */ `
enable f16;
enable subgroups;
enable chromium_experimental_subgroup_matrix;
${halfHeader(maximaOf, "vec4u")}
var<workgroup> x_tile: array<f16, ${rows * pitch}>;
var<workgroup> w_tile: array<f16, ${latents * pitch}>;
var<workgroup> strips: array<f32, ${subgroups * SIDE * strip}>;

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
	for (var k = 0u; k < pitch; k += ${quads}u) {
		${stage("x_tile", "x_half", "place.row + first_row", rows)}
		${stage("w_tile", "w_half", "first_latent", latents)}
		workgroupBarrier();
		${unroll(
			HALF_DEPTH / SIDE,
			(d) => `{
		${unroll(wide, (j) => `let b${j} = subgroupMatrixLoad<subgroup_matrix_right<f16, ${SIDE}, ${SIDE}>, col_major>(&w_tile, (left + ${j * SIDE}u) * ${pitch}u + ${d * SIDE}u, ${pitch}u);`)}
		${unroll(
			down,
			(i) => `{
			let a = subgroupMatrixLoad<subgroup_matrix_left<f16, ${SIDE}, ${SIDE}>, row_major>(&x_tile, (top + ${i * SIDE}u) * ${pitch}u + ${d * SIDE}u, ${pitch}u);
			${unroll(wide, (j) => `sum${i}_${j} = subgroupMatrixMultiplyAccumulate(a, b${j}, sum${i}_${j});`)}
		}`,
		)}
		}`,
		)}
		workgroupBarrier();
	}
	// Sums leave through workgroup memory, for no thread knows which elements of a matrix it holds.
	let own = subgroup * ${SIDE * strip}u;
	${unroll(
		down,
		(i) => /* wgsl */ `
	${unroll(wide, (j) => `subgroupMatrixStore<row_major>(&strips, own + ${j * SIDE}u, sum${i}_${j}, ${strip}u);`)}
	workgroupBarrier();
	for (var block = lane; block < ${(SIDE * subgroupLatents) / 4}u; block += ${SUBGROUP}u) {
		let line = block / ${subgroupLatents / 4}u;
		let column = block % ${subgroupLatents / 4}u * 4u;
		let at = own + line * ${strip}u + column;
		finish(first_row + top + ${i * SIDE}u + line, first_latent + left + column, vec4f(strips[at], strips[at + 1u], strips[at + 2u], strips[at + 3u]));
	}
	workgroupBarrier();`,
	)}
}
`;
}
