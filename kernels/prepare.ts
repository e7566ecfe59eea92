/** Rows as they arrive → rows as the step needs them: float32, scaled, padded, and centred for the encoder. */
import { GROUP_INDEX, STEP_PARAMS } from "./wgsl.ts";

/** How rows lie in the upload buffer, row-major and without padding. */
export type RowFormat = "float32" | "float16";

export interface PrepareShape {
	readonly d_in: number;
	readonly width: number;
	readonly format: RowFormat;
	readonly centre: boolean;
	/** Which of the step's scales multiplies the rows. */
	readonly scale: "input_scale" | "target_scale";
	/** Every row, or every column, has a scale of its own besides. */
	readonly rowScales: boolean;
	readonly columnScales: boolean;
	/** Every row is brought to a form of its own, by its own numbers. */
	readonly normalise?: RowNormalisation;
}

/**
 * `layer_norm`: (x − μ) / (σ + 1e-5), with the row's mean and unbiased standard deviation. `constant_norm_rescale`:
 * x · √d / ‖x‖; a row of zeros stays one. As SAELens has them.
 */
export type RowNormalisation = "layer_norm" | "constant_norm_rescale";

/** Added to σ before dividing by it. */
const EPSILON = "1e-5";

/**
 * Bindings: step uniform, raw rows, x [rows, width]; with `centre` also b_dec [width], xc [rows, width]; then scales
 * [rows], then scales [d_in], where there are such; then, with `normalise`, (scale, shift) [rows] that take rows of this
 * form back to what they were. x = raw · scales, normalised; xc = x − b_dec. One workgroup per row.
 */
export function prepareRows(shape: PrepareShape): string {
	const { d_in, width, format, centre, scale, rowScales, columnScales, normalise } = shape;
	const next = centre ? 5 : 3;
	const last = next + (rowScales ? 1 : 0) + (columnScales ? 1 : 0);
	return /* wgsl */ `
${STEP_PARAMS}
${GROUP_INDEX}
@group(0) @binding(0) var<uniform> step: Step;
@group(0) @binding(1) var<storage, read> raw: array<${format === "float32" ? "f32" : "u32"}>;
@group(0) @binding(2) var<storage, read_write> x: array<f32>;
${
	centre
		? `@group(0) @binding(3) var<storage, read> b_dec: array<f32>;
@group(0) @binding(4) var<storage, read_write> xc: array<f32>;`
		: ""
}
${rowScales ? `@group(0) @binding(${next}) var<storage, read> row_scale: array<f32>;` : ""}
${columnScales ? `@group(0) @binding(${next + (rowScales ? 1 : 0)}) var<storage, read> column_scale: array<f32>;` : ""}
fn load(i: u32) -> f32 {
	${format === "float32" ? "return raw[i];" : "let pair = unpack2x16float(raw[i / 2u]); return select(pair.x, pair.y, (i & 1u) == 1u);"}
}
fn scaled(row: u32, column: u32) -> f32 {
	return load(row * ${d_in}u + column) * step.${scale}${rowScales ? " * row_scale[row]" : ""}${columnScales ? " * column_scale[column]" : ""};
}
${normalise ? statistics(normalise, d_in, last) : ""}
@compute @workgroup_size(64)
fn main(@builtin(workgroup_id) group: vec3u, @builtin(num_workgroups) groups: vec3u, @builtin(local_invocation_index) thread: u32) {
	let row = group_index(group, groups);
	if (row >= step.rows) { return; }
	${normalise ? "let restore = restoration(row, thread);" : ""}
	for (var column = thread; column < ${width}u; column += 64u) {
		var value = 0.0;
		if (column < ${d_in}u) { value = ${normalise ? normalised(normalise) : "scaled(row, column)"}; }
		x[row * ${width}u + column] = value;
		${centre ? `xc[row * ${width}u + column] = value - b_dec[column];` : ""}
	}
}
`;
}

/** `restoration`: (scale, shift) of a row, the same in every thread. */
function statistics(kind: RowNormalisation, d_in: number, binding: number): string {
	const layerNorm = kind === "layer_norm";
	return /* wgsl */ `
@group(0) @binding(${binding}) var<storage, read_write> restores: array<vec2f>;
var<workgroup> parts: array<f32, 64>;
/** The sum over a row of (value − centre)^power, the same in every thread. */
fn row_sum(row: u32, thread: u32, centre: f32, squared: bool) -> f32 {
	var sum = 0.0;
	for (var column = thread; column < ${d_in}u; column += 64u) {
		let value = scaled(row, column) - centre;
		sum += select(value, value * value, squared);
	}
	workgroupBarrier();
	parts[thread] = sum;
	for (var half = 32u; half > 0u; half /= 2u) {
		workgroupBarrier();
		if (thread < half) { parts[thread] += parts[thread + half]; }
	}
	workgroupBarrier();
	return parts[0];
}
fn restoration(row: u32, thread: u32) -> vec2f {
	${
		layerNorm
			? `let mean = row_sum(row, thread, 0.0, false) / ${d_in}.0;
	let restore = vec2f(sqrt(row_sum(row, thread, mean, true) / ${Math.max(1, d_in - 1)}.0), mean);`
			: `let restore = vec2f(sqrt(row_sum(row, thread, 0.0, true) / ${d_in}.0), 0.0);`
	}
	if (thread == 0u) { restores[row] = restore; }
	return restore;
}`;
}

function normalised(kind: RowNormalisation): string {
	return kind === "layer_norm"
		? `(scaled(row, column) - restore.y) / (restore.x + ${EPSILON})`
		: "select(0.0, scaled(row, column) / restore.x, restore.x > 0.0)";
}

/**
 * Bindings: step uniform, (scale, shift) [rows], y [rows, width], of which the first d_out columns become y · scale +
 * shift. One workgroup per row.
 */
export function restoreRows({ d_out, width }: { readonly d_out: number; readonly width: number }): string {
	return /* wgsl */ `
${STEP_PARAMS}
${GROUP_INDEX}
@group(0) @binding(0) var<uniform> step: Step;
@group(0) @binding(1) var<storage, read> restores: array<vec2f>;
@group(0) @binding(2) var<storage, read_write> y: array<f32>;

@compute @workgroup_size(64)
fn main(@builtin(workgroup_id) group: vec3u, @builtin(num_workgroups) groups: vec3u, @builtin(local_invocation_index) thread: u32) {
	let row = group_index(group, groups);
	if (row >= step.rows) { return; }
	let restore = restores[row];
	for (var column = thread; column < ${d_out}u; column += 64u) {
		let at = row * ${width}u + column;
		y[at] = y[at] * restore.x + restore.y;
	}
}
`;
}
