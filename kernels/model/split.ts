/**
 * Rows as float16, once or twice: the number rounded, and what rounding left of it. Both together have float32's precision to a
 * bit or two, so that a product of them on tensor cores (../tensor-product.ts) is a float32 product. Each row is first
 * multiplied by a power of two that brings its largest element to [2¹⁴, 2¹⁵): whatever is so much smaller that float16's
 * range loses it, float32 sums would lose as well.
 */
import { GROUP_INDEX } from "../wgsl.ts";
import { readFour, type WeightFormat } from "./unpack.ts";

/** Weights that come in 16 bits have nothing left to split. */
export function partsOf(format: WeightFormat): 1 | 2 {
	return format === "f32" ? 2 : 1;
}

/** What every kernel that splits a row shares: its largest number's bits become what to multiply by, and the inverse. */
export const SPLIT_ROW = /* wgsl */ `
var<workgroup> biggest: atomic<u32>;
fn largest_of(v: vec4f) -> f32 { let size = abs(v); return max(max(size.x, size.y), max(size.z, size.w)); }
fn pack_four(v: vec4f) -> vec2u { return vec2u(pack2x16float(v.xy), pack2x16float(v.zw)); }
fn factors_of(bits: u32) -> vec2f {
	// 2^e is at most the largest number; nothing is scaled beyond what float32 can undo.
	let e = clamp(i32(bits >> 23u) - 127, -100, 100);
	return vec2f(bitcast<f32>(u32(141 - e) << 23u), bitcast<f32>(u32(113 + e) << 23u));
}
`;

/**
 * Bindings: uniform { first row of the source, rows, width / 4 }, source [rows, width], halves [rows, width · parts], inverse
 * of each row's scale. Widths are multiples of 16; of two parts, each sixteen numbers lie before what is left of them. A
 * workgroup per row.
 */
export function splitRows(format: WeightFormat, parts: 1 | 2, threads: number): string {
	const eachColumn = (body: string) => /* wgsl */ `
	for (var column = thread; column < place.pitch; column += ${threads}u) {
		let own = source[base + column];
		${body}
	}`;
	return /* wgsl */ `
${GROUP_INDEX}
struct Place { first: u32, rows: u32, pitch: u32 }
@group(0) @binding(0) var<uniform> place: Place;
@group(0) @binding(1) var<storage, read> source: array<${format === "f32" ? "vec4f" : "vec2u"}>;
@group(0) @binding(2) var<storage, read_write> halves: array<vec2u>;
@group(0) @binding(3) var<storage, read_write> scale: array<f32>;
${SPLIT_ROW}

@compute @workgroup_size(${threads})
fn main(@builtin(workgroup_id) group: vec3u, @builtin(num_workgroups) groups: vec3u, @builtin(local_invocation_index) thread: u32) {
	let row = group_index(group, groups);
	if (row >= place.rows) { return; }
	let base = (place.first + row) * place.pitch;
	var extent = 0.0;
	${eachColumn(`extent = max(extent, largest_of(${readFour(format, "own")}));`)}
	atomicMax(&biggest, bitcast<u32>(extent));
	workgroupBarrier();
	let factors = factors_of(atomicLoad(&biggest));
	if (thread == 0u) { scale[row] = factors.y; }
	${eachColumn(`let value = ${readFour(format, "own")} * factors.x;
		// Unpacking what was packed is no way to see the rounding: Mesa takes the two to cancel.
		let half = quantizeToF16(value);
		let at = row * place.pitch * ${parts}u + column / 4u * ${4 * parts}u + column % 4u;
		halves[at] = pack_four(half);
		${parts === 2 ? "halves[at + 4u] = pack_four(value - half);" : ""}`)}
}
`;
}
