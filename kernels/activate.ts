/** Pre-activations that were kept → codes, and what a penalty sums over each row. */
import { declareNames, type Names } from "./formula.ts";
import { GROUP_INDEX, STEP_PARAMS, workgroupSum } from "./wgsl.ts";

export interface ActivateShape {
	readonly threads: number;
	readonly names: Names;
	readonly value: string;
	/** Formulas whose sums over a row are wanted: a penalty's value, and what stands beside it. */
	readonly sums: readonly string[];
}

/** Sums kept for each code row: how many codes are not 0, then up to two of a penalty. */
export const ROW_SUMS = 3;

/**
 * Bindings: step uniform, uniform { code rows, first code row, stride of vectors }, index, span, z, vectors [count,
 * stride], value [entries], sums [code rows, 3]. One workgroup per code row.
 */
export function activateCodes(shape: ActivateShape): string {
	const { threads, names, value, sums } = shape;
	return /* wgsl */ `
${STEP_PARAMS}
${GROUP_INDEX}
${workgroupSum(threads)}
struct Part { rows: u32, code_row: u32, stride: u32, unused: u32 }
@group(0) @binding(0) var<uniform> step: Step;
@group(0) @binding(1) var<uniform> part: Part;
@group(0) @binding(2) var<storage, read> index: array<u32>;
@group(0) @binding(3) var<storage, read> span: array<vec2u>;
@group(0) @binding(4) var<storage, read> pre: array<f32>;
@group(0) @binding(5) var<storage, read> vectors: array<f32>;
@group(0) @binding(6) var<storage, read_write> value: array<f32>;
@group(0) @binding(7) var<storage, read_write> sums: array<f32>;

@compute @workgroup_size(${threads})
fn main(@builtin(workgroup_id) group: vec3u, @builtin(num_workgroups) groups: vec3u, @builtin(local_invocation_index) thread: u32) {
	let row = group_index(group, groups);
	if (row >= part.rows) { return; }
	let v = part.code_row + row;
	let entries = span[v];
	var active_codes = 0.0;
	${sums.map((_, i) => `var sum${i} = 0.0;`).join(" ")}
	for (var e = entries.x + thread; e < entries.y; e += ${threads}u) {
		let latent = index[e];
		let z = pre[e];
		${declareNames(names, [value, ...sums], "part.stride")}
		let f = ${value};
		value[e] = f;
		active_codes += select(0.0, 1.0, f != 0.0);
		${sums.map((formula, i) => `sum${i} += ${formula};`).join("\n\t\t")}
	}
	// Formulas need not name anything, but every binding has to be there.
	_ = vectors[0];
	_ = step.rows;
	let count = workgroup_sum(thread, active_codes);
	if (thread == 0u) { sums[v * ${ROW_SUMS}u] = count; }
	${sums
		.map(
			(_, i) => `let total${i} = workgroup_sum(thread, sum${i});
	if (thread == 0u) { sums[v * ${ROW_SUMS}u + ${i + 1}u] = total${i}; }`,
		)
		.join("\n\t")}
}
`;
}
