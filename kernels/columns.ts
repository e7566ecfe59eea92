/** Sums down the columns of a matrix, and each row's squared distance from the column means. Fixed order, float32. */
import { GROUP_INDEX, workgroupSum } from "./wgsl.ts";

/** Columns (as vec4) and row lanes of one workgroup. */
const COLUMNS = 16;
const LANES = 16;
/** Columns come in multiples of DEPTH (16 numbers), so four vec4 at a time always fit. */
const QUADS = 4;

/** Rows that one workgroup folds into one. */
export const COLUMN_BLOCK = 256;

/**
 * Bindings: uniform { rows, first row, first output row, first weight }, in [rows, width], out [blocks, width], with
 * `weighted` also weights [rows].
 * out[block] = Σ weight · in[row] over the block's rows. Grid: {@link columnGroups}.
 */
export function columnSums(shape: { width: number; weighted?: boolean }): string {
	const pitch = shape.width / 4;
	return /* wgsl */ `
struct Part { rows: u32, first: u32, out: u32, weight: u32 }
@group(0) @binding(0) var<uniform> part: Part;
@group(0) @binding(1) var<storage, read> source: array<vec4f>;
@group(0) @binding(2) var<storage, read_write> out: array<vec4f>;
${shape.weighted ? "@group(0) @binding(3) var<storage, read> weights: array<f32>;" : ""}
var<workgroup> lanes: array<vec4f, ${COLUMNS * LANES}>;

@compute @workgroup_size(${COLUMNS}, ${LANES})
fn main(@builtin(workgroup_id) group: vec3u, @builtin(local_invocation_id) local: vec3u) {
	let column = group.x * ${COLUMNS}u + local.x;
	let end = min((group.y + 1u) * ${COLUMN_BLOCK}u, part.rows);
	var sum = vec4f();
	if (column < ${pitch}u) {
		for (var row = group.y * ${COLUMN_BLOCK}u + local.y; row < end; row += ${LANES}u) {
			${
				shape.weighted
					? `let weight = weights[part.weight + row];
			if (weight != 0.0) { sum += weight * source[(part.first + row) * ${pitch}u + column]; }`
					: `sum += source[(part.first + row) * ${pitch}u + column];`
			}
		}
	}
	lanes[local.y * ${COLUMNS}u + local.x] = sum;
	workgroupBarrier();
	for (var half = ${LANES / 2}u; half > 0u; half >>= 1u) {
		if (local.y < half) { lanes[local.y * ${COLUMNS}u + local.x] += lanes[(local.y + half) * ${COLUMNS}u + local.x]; }
		workgroupBarrier();
	}
	if (local.y == 0u && column < ${pitch}u) { out[(part.out + group.y) * ${pitch}u + column] = lanes[local.x]; }
}
`;
}

export function columnGroups(width: number, rows: number): [number, number, number] {
	return [Math.ceil(width / QUADS / COLUMNS), Math.ceil(rows / COLUMN_BLOCK), 1];
}

/**
 * Bindings: uniform { rows, first row, unused, unused }, in [rows, width], sums [width] (of these rows), out [rows].
 * out[row] = ‖in[row] − sums / rows‖². One workgroup per row.
 */
export function rowDeviations(shape: { width: number; d_in: number; threads: number }): string {
	const { width, d_in, threads } = shape;
	return /* wgsl */ `
${GROUP_INDEX}
${workgroupSum(threads)}
struct Part { rows: u32, first: u32, unused0: u32, unused1: u32 }
@group(0) @binding(0) var<uniform> part: Part;
@group(0) @binding(1) var<storage, read> source: array<f32>;
@group(0) @binding(2) var<storage, read> sums: array<f32>;
@group(0) @binding(3) var<storage, read_write> out: array<f32>;

@compute @workgroup_size(${threads})
fn main(@builtin(workgroup_id) group: vec3u, @builtin(num_workgroups) groups: vec3u, @builtin(local_invocation_index) thread: u32) {
	let row = group_index(group, groups);
	if (row >= part.rows) { return; }
	let scale = 1.0 / f32(part.rows);
	var mine = 0.0;
	for (var column = thread; column < ${d_in}u; column += ${threads}u) {
		let distance = source[(part.first + row) * ${width}u + column] - sums[column] * scale;
		mine += distance * distance;
	}
	let total = workgroup_sum(thread, mine);
	if (thread == 0u) { out[row] = total; }
}
`;
}

/**
 * Squared distances from the mean of each micro-batch become those from the mean of the batch, but for their sum alone:
 * the first row of each micro-batch gets rows · ‖its mean − the batch's mean‖² on top.
 * Bindings: uniform { rows of the batch, rows of a micro-batch, micro-batches }, sums [micro-batches, width], distances
 * [rows]. One workgroup per micro-batch; the last may have fewer rows.
 */
export function spreadOverParts(shape: { width: number; d_in: number; threads: number }): string {
	const { width, d_in, threads } = shape;
	return /* wgsl */ `
${workgroupSum(threads)}
struct Parts { rows: u32, each: u32, count: u32, unused: u32 }
@group(0) @binding(0) var<uniform> parts: Parts;
@group(0) @binding(1) var<storage, read> sums: array<f32>;
@group(0) @binding(2) var<storage, read_write> distances: array<f32>;

@compute @workgroup_size(${threads})
fn main(@builtin(workgroup_id) group: vec3u, @builtin(local_invocation_index) thread: u32) {
	let first = group.x * parts.each;
	let rows = f32(min(parts.each, parts.rows - first));
	var mine = 0.0;
	for (var column = thread; column < ${d_in}u; column += ${threads}u) {
		var all = 0.0;
		for (var i = 0u; i < parts.count; i++) { all += sums[i * ${width}u + column]; }
		let distance = sums[group.x * ${width}u + column] / rows - all / f32(parts.rows);
		mine += distance * distance;
	}
	let total = workgroup_sum(thread, mine);
	if (thread == 0u) { distances[first] += rows * total; }
}
`;
}

/** Bindings: part [n], total [n], uniform { n }. total += part. A thread per number. */
export function addNumbers(type: "f32" | "u32"): string {
	return /* wgsl */ `
${GROUP_INDEX}
@group(0) @binding(0) var<storage, read> part: array<${type}>;
@group(0) @binding(1) var<storage, read_write> total: array<${type}>;
@group(0) @binding(2) var<uniform> size: vec4u;

@compute @workgroup_size(64)
fn main(@builtin(workgroup_id) group: vec3u, @builtin(num_workgroups) groups: vec3u, @builtin(local_invocation_index) thread: u32) {
	let i = group_index(group, groups) * 64u + thread;
	if (i < size.x) { total[i] += part[i]; }
}
`;
}
