/** Matrices whose gradients are dense: what they need beside the products of matmul.ts. */
import { CONTROL } from "./loss.ts";
import { ADAM } from "./update.ts";
import { GROUP_INDEX, literal, STEP_PARAMS, workgroupSum } from "./wgsl.ts";

/** Rows and columns that one workgroup transposes. */
const SIDE = 16;

/**
 * Bindings: uniform { rows, width, row pitch of out }, in [rows, width], out [width, pitch]; with `blocks` also control;
 * with `weighted` also weights [rows].
 * out = inᵀ. With `blocks`, in holds blocks of so many rows behind each other: those named are added up, each by its scale
 * in the control buffer and each row by its weight. Grid: {@link transposeGroups}.
 */
export function transposeRows(shape: { blocks?: readonly number[]; weighted?: boolean } = {}): string {
	const { blocks, weighted = false } = shape;
	const value =
		blocks
			?.map(
				(block) => `control[${CONTROL.scale + block}] * source[(${block}u * size.x + row) * size.y + column]`,
			)
			.join(" + ") ?? "source[row * size.y + column]";
	return /* wgsl */ `
@group(0) @binding(0) var<uniform> size: vec4u;
@group(0) @binding(1) var<storage, read> source: array<f32>;
@group(0) @binding(2) var<storage, read_write> out: array<f32>;
${blocks ? "@group(0) @binding(3) var<storage, read> control: array<f32>;" : ""}
${weighted ? "@group(0) @binding(4) var<storage, read> weights: array<f32>;" : ""}
var<workgroup> square: array<f32, ${SIDE * (SIDE + 1)}>;

@compute @workgroup_size(${SIDE}, ${SIDE})
fn main(@builtin(workgroup_id) group: vec3u, @builtin(local_invocation_id) local: vec3u) {
	let row = group.y * ${SIDE}u + local.y;
	let column = group.x * ${SIDE}u + local.x;
	if (row < size.x && column < size.y) {
		square[local.x * ${SIDE + 1}u + local.y] = ${weighted ? `weights[row] * (${value})` : value};
	}
	workgroupBarrier();
	let to_row = group.x * ${SIDE}u + local.y;
	let to_column = group.y * ${SIDE}u + local.x;
	if (to_row < size.y && to_column < size.x) {
		out[to_row * size.z + to_column] = square[local.y * ${SIDE + 1}u + local.x];
	}
}
`;
}

export function transposeGroups(rows: number, width: number): [number, number, number] {
	return [Math.ceil(width / SIDE), Math.ceil(rows / SIDE), 1];
}

/** What rows are brought back to after an update. */
export type Projection =
	/** No number below 0, and all of them add up to 1. */
	| { readonly kind: "simplex" }
	/** No norm over the radius. */
	| { readonly kind: "ball"; readonly radius: number };

export interface DenseShape {
	/** Padded columns. */
	readonly width: number;
	/** Threads that share a row, a power of two. */
	readonly threads: number;
}

/**
 * Adam, and a projection where there is one.
 * Bindings: step uniform, uniform { rows }, control, gradient [rows, width], weights [rows, width], moments [rows, 2,
 * width]. One workgroup per row.
 */
export function updateDense({ width, threads, project }: DenseShape & { project?: Projection }): string {
	const lanes = width / 4;
	const columns = (text: string) =>
		`for (var i = row * ${lanes}u + thread; i < (row + 1u) * ${lanes}u; i += ${threads}u) { ${text} }`;
	const factor =
		project?.kind === "ball"
			? `min(1.0, ${literal(project.radius)} / max(sqrt(size), 1e-30))`
			: "1.0 / max(size, 1e-8)";
	return /* wgsl */ `
${STEP_PARAMS}
${GROUP_INDEX}
${project ? workgroupSum(threads) : ""}
@group(0) @binding(0) var<uniform> step: Step;
@group(0) @binding(1) var<uniform> part: vec4u;
@group(0) @binding(2) var<storage, read> control: array<f32>;
@group(0) @binding(3) var<storage, read> gradient: array<vec4f>;
@group(0) @binding(4) var<storage, read_write> weights: array<vec4f>;
@group(0) @binding(5) var<storage, read_write> moments: array<vec4f>;
${ADAM("vec4f")}

@compute @workgroup_size(${threads})
fn main(@builtin(workgroup_id) group: vec3u, @builtin(num_workgroups) groups: vec3u, @builtin(local_invocation_index) thread: u32) {
	let row = group_index(group, groups);
	if (row >= part.x || control[${CONTROL.stopped}] != 0.0) { return; }
	let clip = control[${CONTROL.clip}];
	var mine = 0.0;
	${columns(`
		let moment = i + row * ${lanes}u;
		var m = moments[moment];
		var v = moments[moment + ${lanes}u];
		var weight = adam(weights[i], gradient[i] * clip, &m, &v);
		${project?.kind === "simplex" ? "weight = max(weight, vec4f());" : ""}
		mine += ${project?.kind === "simplex" ? "dot(weight, vec4f(1.0))" : "dot(weight, weight)"};
		moments[moment] = m;
		moments[moment + ${lanes}u] = v;
		weights[i] = weight;
	`)}
	${
		project
			? `let size = workgroup_sum(thread, mine);
	let factor = ${factor};
	${columns("weights[i] *= factor;")}`
			: ""
	}
}
`;
}

/** Bindings: uniform { rows, first norm }, gradient [rows, width], norms. norms[first + row] = ‖row‖². A workgroup per row. */
export function denseNorms({ width, threads }: DenseShape): string {
	return /* wgsl */ `
${GROUP_INDEX}
${workgroupSum(threads)}
@group(0) @binding(0) var<uniform> size: vec4u;
@group(0) @binding(1) var<storage, read> gradient: array<f32>;
@group(0) @binding(2) var<storage, read_write> norms: array<f32>;

@compute @workgroup_size(${threads})
fn main(@builtin(workgroup_id) group: vec3u, @builtin(num_workgroups) groups: vec3u, @builtin(local_invocation_index) thread: u32) {
	let row = group_index(group, groups);
	if (row >= size.x) { return; }
	var mine = 0.0;
	for (var i = thread; i < ${width}u; i += ${threads}u) {
		let g = gradient[row * ${width}u + i];
		mine += g * g;
	}
	let total = workgroup_sum(thread, mine);
	if (thread == 0u) { norms[size.y + row] = total; }
}
`;
}
