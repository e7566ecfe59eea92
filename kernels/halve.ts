/**
 * Rows in float16 beside their float32 originals, for products on tensor cores. Each row is first multiplied by a power
 * of two that brings its largest element to [2⁸, 2⁹), so that float16's range never matters: what its subnormals lose is
 * nothing beside the row's other rounding.
 */
import { roundUp } from "./layout.ts";
import { GROUP_INDEX, literal, workgroupSum } from "./wgsl.ts";

/** Columns of halved rows come in multiples of this: the depth of a tile of {@link ./tensor-product.ts}. */
export const HALF_DEPTH = 32;

/** Padded columns of halved rows of `width` columns. */
export function halfWidth(width: number): number {
	return roundUp(width, HALF_DEPTH);
}

const THREADS = 64;

/**
 * `half_error`: how far a product of two halved rows may be from that of the originals: with what halving took from
 * either, ‖x − x′‖ · ‖w‖ + ‖x′‖ · ‖w − w′‖ by Cauchy and Schwarz, for the worst of all w. The rest is for sums in float32
 * that truncate instead of rounding. Kernels bind `row_norm`: vectors (‖x‖, ‖x − x′‖), and `largest`: the largest of
 * either among all w, as bits.
 */
export function halfError(width: number): string {
	return /* wgsl */ `
fn half_error(row: u32) -> f32 {
	let x = row_norm[row];
	let w = vec2f(bitcast<f32>(largest[0]), bitcast<f32>(largest[1]));
	return 1.001 * (x.y * w.x + (x.x + x.y) * w.y + ${literal(width * 2 ** -23)} * x.x * w.x);
}
`;
}

export interface HalveShape {
	readonly rows: "inputs" | "weights";
	/**
	 * Whether inputs clear what weights gather, the largest norms of all rows as their bits, because weights are halved
	 * anew after them.
	 */
	readonly clears?: boolean;
}

/**
 * Bindings: uniform { first row of scales and norms, rows, width / 4, half width / 4 }, source [rows, width], halves
 * [rows, half width], inverse of each row's scale, norms of each row and of what halving takes from it, largest norms'
 * bits. One workgroup per row.
 */
export function halveRows({ rows, clears = false }: HalveShape): string {
	return /* wgsl */ `
${GROUP_INDEX}
${workgroupSum(THREADS)}
struct Place { first: u32, rows: u32, pitch: u32, half_pitch: u32 }
@group(0) @binding(0) var<uniform> place: Place;
@group(0) @binding(1) var<storage, read> source: array<vec4f>;
@group(0) @binding(2) var<storage, read_write> halves: array<vec2u>;
@group(0) @binding(3) var<storage, read_write> scale: array<f32>;
@group(0) @binding(4) var<storage, read_write> norm: array<vec2f>;
@group(0) @binding(5) var<storage, read_write> largest: array<atomic<u32>, 2>;
var<workgroup> biggest: atomic<u32>;

@compute @workgroup_size(${THREADS})
fn main(@builtin(workgroup_id) group: vec3u, @builtin(num_workgroups) groups: vec3u, @builtin(local_invocation_index) thread: u32) {
	let row = group_index(group, groups);
	if (row >= place.rows) { return; }
	let base = row * place.pitch;
	var square = 0.0;
	var extent = 0.0;
	for (var column = thread; column < place.pitch; column += ${THREADS}u) {
		let value = source[base + column];
		let size = abs(value);
		square += dot(value, value);
		extent = max(extent, max(max(size.x, size.y), max(size.z, size.w)));
	}
	atomicMax(&biggest, bitcast<u32>(extent));
	let length = sqrt(workgroup_sum(thread, square));
	// 2^e is at most the largest element; nothing is scaled beyond what float32 can undo.
	let e = clamp(i32(atomicLoad(&biggest) >> 23u) - 127, -100, 100);
	let factor = bitcast<f32>(u32(135 - e) << 23u);
	let inverse = bitcast<f32>(u32(119 + e) << 23u);
	var lost = 0.0;
	for (var column = thread; column < place.half_pitch; column += ${THREADS}u) {
		var value = vec4f();
		if (column < place.pitch) { value = source[base + column] * factor; }
		// Unpacking what was packed is no way to see the rounding: Mesa takes the two to cancel.
		let half = quantizeToF16(value);
		halves[row * place.half_pitch + column] = vec2u(pack2x16float(half.xy), pack2x16float(half.zw));
		let difference = value - half;
		lost += dot(difference, difference);
	}
	let loss = sqrt(workgroup_sum(thread, lost)) * inverse;
	if (thread == 0u) {
		scale[place.first + row] = inverse;
		norm[place.first + row] = vec2f(length, loss);
		${
			rows === "inputs"
				? clears
					? "if (row == 0u) { atomicStore(&largest[0], 0u); atomicStore(&largest[1], 0u); }"
					: ""
				: "atomicMax(&largest[0], bitcast<u32>(length)); atomicMax(&largest[1], bitcast<u32>(loss));"
		}
	}
}
`;
}
