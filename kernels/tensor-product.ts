/**
 * The encoder product on tensor cores: operands in float16, sums in float32. What it gives is off by up to
 * {@link ./halve.ts}'s bound, so that it only serves to find the few latents whose pre-activations matter; those are
 * computed again in float32. So it keeps no pre-activations, but a summary of every four neighbours.
 */
import { HALF_DEPTH, halfError } from "./halve.ts";
import { GROUP, type MaximaOf } from "./matmul.ts";
import type { AttentionShape } from "./model/attention.ts";
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
	/** A plain product; bindings as {@link denseHalfHeader} declares them. */
	dense(parts: Parts, biased: boolean): string;
	/** Attention of operands in so many parts (model/tensor-attention.ts), where there is such a kernel. */
	readonly attend?: (shape: AttentionShape, parts: 1 | 2) => string;
}

/** In how many numbers of float16 each number of an operand comes (model/split.ts): rows of a, and those of b. */
export interface Parts {
	readonly a: 1 | 2;
	readonly b: 1 | 2;
}
type Side = keyof Parts;

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

/** The bindings that both products have. */
function operands(element: string): string {
	return /* wgsl */ `
struct Place { row: u32, latent: u32, pitch: u32, stride: u32 }
@group(0) @binding(0) var<uniform> place: Place;
@group(0) @binding(1) var<storage, read> x_half: array<${element}>;
@group(0) @binding(2) var<storage, read> w_half: array<${element}>;
@group(0) @binding(3) var<storage, read> row_scale: array<f32>;
@group(0) @binding(4) var<storage, read> latent_scale: array<vec4f>;`;
}

/** The bindings of a {@link HalfProduct}, and what becomes of pre-activations: summaries of what they are at the most. */
export function halfHeader(maximaOf: MaximaOf, width: number, element: string): string {
	return /* wgsl */ `${operands(element)}
@group(0) @binding(5) var<storage, read> row_norm: array<vec2f>;
@group(0) @binding(6) var<storage, read> largest: array<u32>;
@group(0) @binding(7) var<storage, read> b_enc: array<vec4f>;
@group(0) @binding(8) var<storage, read_write> summaries: array<u32>;
${SUMMARY}
${halfError(width)}
fn summarise(row: u32, pre: vec4f) -> u32 { return summary(${maximaOf === "value" ? "pre" : "abs(pre)"} + half_error(row)); }
`;
}

/**
 * out = A · Bᵀ, and a bias. Bindings: uniform { first row of A, 0, columns / 4, stride / 4 }, A's halves, B's halves, inverse
 * scales of their rows, out [rows, stride], and where `biased` a row that is added to each.
 */
export function denseHalfHeader(biased: boolean, element: string): string {
	return /* wgsl */ `${operands(element)}
@group(0) @binding(5) var<storage, read_write> out: array<vec4f>;
${biased ? "@group(0) @binding(6) var<storage, read> bias: array<vec4f>;" : ""}
fn store_four(row: u32, column: u32, sums: vec4f) {
	out[row * place.stride + column] = sums * row_scale[place.row + row] * latent_scale[column]${biased ? " + bias[column]" : ""};
}
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
	/** Numbers of float16 of a row that are staged at a time. */
	readonly depth: number;
	/** Tiles of rows whose workgroups run side by side. */
	readonly band: number;
}

/** Fastest of two dozen on an H200. */
export const TENSOR_TILE: TensorTile = {
	rows: 128,
	latents: 128,
	subgroupRows: 64,
	subgroupLatents: 64,
	depth: HALF_DEPTH,
	band: 32,
};

/** Threads of a subgroup: of every one on a device that this product is for. */
export const SUBGROUP = 32;

/** For devices with subgroup matrices of 16 × 16 × 16, float16 in and float32 out, in the syntax of current Dawn. */
export function tensorProduct(tile: TensorTile): HalfProduct {
	const { rows, latents } = tile;
	return {
		rows,
		latents,
		code: (maximaOf, width) =>
			tensorCode(tile, {
				head: halfHeader(maximaOf, width, "vec4u"),
				parts: { a: 1, b: 1 },
				before: "let scales = latent_scale[column]; let bias = b_enc[column];",
				store: `let from_ = place.row + row;
		summaries[row * place.stride + column] = summarise(from_, sums * (row_scale[from_] * scales) + bias);`,
			}),
		dense: (parts, biased) =>
			tensorCode(tile, {
				head: denseHalfHeader(biased, "vec4u"),
				parts,
				before: "",
				store: "store_four(row, column, sums);",
			}),
	};
}

/** What a product of tiles is of, and what becomes of it. */
interface TensorUse {
	readonly head: string;
	readonly parts: Parts;
	/** WGSL that knows `column`, of four results; and that knows `row`, `column` and its `sums` besides. */
	readonly before: string;
	readonly store: string;
}

/**
 * Tiles of both operands are staged through workgroup memory in units of sixteen bytes. Sums leave through the same
 * memory, sixteen rows of a subgroup at a time, for no thread knows which elements of a matrix it holds.
 */
function tensorCode(tile: TensorTile, { head, parts, before, store }: TensorUse): string {
	const { rows, latents, subgroupRows, subgroupLatents, band } = tile;
	const across = latents / subgroupLatents;
	const subgroups = across * (rows / subgroupRows);
	const threads = subgroups * SUBGROUP;
	const down = subgroupRows / SIDE;
	const wide = subgroupLatents / SIDE;
	// Columns of a round: with operands in two parts, fewer of them fill as much memory.
	const columns = tile.depth / Math.max(parts.a, parts.b);
	// In units of workgroup memory.
	const depth = { a: (columns * parts.a) / MOVED, b: (columns * parts.b) / MOVED };
	const pitch = { a: depth.a + PAD / MOVED, b: depth.b + PAD / MOVED };
	const step = SIDE / MOVED;
	const strip = (subgroupLatents + 4) / 4;
	const fours = subgroupLatents / GROUP;
	const units = Math.max(rows * pitch.a + latents * pitch.b, subgroups * SIDE * strip);
	const extent = { a: rows, b: latents };
	const unitsOf = (side: Side, text: (unit: string, i: number) => string) =>
		unroll((extent[side] * depth[side]) / threads, (i) => text(`(thread + ${i * threads}u)`, i));
	const fetch = (side: Side, from: string, first: string) =>
		unitsOf(
			side,
			(unit, i) =>
				`let ${side}${i} = ${from}[(${first} + ${unit} / ${depth[side]}u) * pitch_${side} + k * ${depth[side]}u + ${unit} % ${depth[side]}u];`,
		);
	const put = (side: Side, first: number) =>
		unitsOf(
			side,
			(unit, i) =>
				`staged[${first}u + ${unit} / ${depth[side]}u * ${pitch[side]}u + ${unit} % ${depth[side]}u] = ${side}${i};`,
		);
	const load = (side: Side, line: string, d: number, part: number) => {
		const [hand, order] = side === "a" ? ["left", "row_major"] : ["right", "col_major"];
		const first = side === "a" ? "" : `${rows * pitch.a}u + `;
		const at = `${first}(${line}) * ${pitch[side]}u + ${(d * parts[side] + part) * step}u`;
		return `subgroupMatrixLoad<subgroup_matrix_${hand}<f16, ${SIDE}, ${SIDE}>, ${order}>(&staged, ${at}, ${pitch[side]}u)`;
	};
	const eachPart = (side: Side, text: (part: number) => string) => unroll(parts[side], text);
	return /* wgsl */ `
enable f16;
enable subgroups;
enable chromium_experimental_subgroup_matrix;
${head}
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
	let rounds = place.pitch / ${columns / 4}u;
	let pitch_a = rounds * ${depth.a}u;
	let pitch_b = rounds * ${depth.b}u;
	${unroll(down, (i) => unroll(wide, (j) => `var sum${i}_${j}: subgroup_matrix_result<f32, ${SIDE}, ${SIDE}>;`))}
	for (var k = 0u; k < rounds; k++) {
		${fetch("a", "x_half", "place.row + first_row")}
		${fetch("b", "w_half", "first_latent")}
		${put("a", 0)}
		${put("b", rows * pitch.a)}
		workgroupBarrier();
		${unroll(
			columns / SIDE,
			(d) => `{
		${eachPart("b", (q) => unroll(wide, (j) => `let b${j}_${q} = ${load("b", `${j * SIDE}u + left`, d, q)};`))}
		${unroll(
			down,
			(i) => `{
			${eachPart("a", (p) => `let a${p} = ${load("a", `${i * SIDE}u + top`, d, p)};`)}
			${eachPart("a", (p) =>
				eachPart("b", (q) =>
					// What two second parts give is less than float32 can hold beside the rest.
					p + q > 1
						? ""
						: unroll(
								wide,
								(j) => `sum${i}_${j} = subgroupMatrixMultiplyAccumulate(a${p}, b${j}_${q}, sum${i}_${j});`,
							),
				),
			)}
		}`,
		)}
		}`,
		)}
		workgroupBarrier();
	}
	let own = subgroup * ${SIDE * strip}u;
	let four = lane % ${fours}u;
	let column = (place.latent + first_latent + left) / 4u + four;
	${before}
	${unroll(
		down,
		(i) => /* wgsl */ `
	${unroll(wide, (j) => `subgroupMatrixStore<row_major>(&staged, own + ${j * (SIDE / 4)}u, sum${i}_${j}, ${strip}u);`)}
	workgroupBarrier();
	for (var line = lane / ${fours}u; line < ${SIDE}u; line += ${SUBGROUP / fours}u) {
		let row = first_row + top + ${i * SIDE}u + line;
		let sums = bitcast<vec4f>(staged[own + line * ${strip}u + four]);
		${store}
	}
	workgroupBarrier();`,
	)}
}
`;
}
