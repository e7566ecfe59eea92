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
}

/**
 * Bindings: step uniform, raw rows, x [rows, width]; with `centre` also b_dec [width], xc [rows, width]; then scales
 * [rows], then scales [d_in], where there are such.
 * x = raw · scales; xc = x − b_dec. One workgroup per row.
 */
export function prepareRows(shape: PrepareShape): string {
	const { d_in, width, format, centre, scale, rowScales, columnScales } = shape;
	const next = centre ? 5 : 3;
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

@compute @workgroup_size(64)
fn main(@builtin(workgroup_id) group: vec3u, @builtin(num_workgroups) groups: vec3u, @builtin(local_invocation_index) thread: u32) {
	let row = group_index(group, groups);
	if (row >= step.rows) { return; }
	for (var column = thread; column < ${width}u; column += 64u) {
		var value = 0.0;
		if (column < ${d_in}u) { value = load(row * ${d_in}u + column) * step.${scale}${rowScales ? " * row_scale[row]" : ""}${columnScales ? " * column_scale[column]" : ""}; }
		x[row * ${width}u + column] = value;
		${centre ? `xc[row * ${width}u + column] = value - b_dec[column];` : ""}
	}
}
`;
}
