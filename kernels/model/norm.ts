/** Normalisation of each row: LayerNorm, or division by the root mean square. */
import { GROUP_INDEX, literal, workgroupSum } from "../wgsl.ts";

export interface NormShape {
	readonly kind: "layer" | "rms";
	readonly eps: number;
	readonly threads: number;
}

/**
 * Bindings: uniform { rows, width, stride }, in [rows, stride], affine [2, stride] (weight, bias), out [rows, stride].
 * layer: out = (x − mean) / √(variance + eps) · weight + bias; rms: out = x / √(mean of x² + eps), affine not used.
 * Padding of weights and biases is zero, hence that of the result. A workgroup per row.
 */
export function normRows({ kind, eps, threads }: NormShape): string {
	const each = (body: string) => `for (var i = thread; i < size.y; i += ${threads}u) { ${body} }`;
	return /* wgsl */ `
${GROUP_INDEX}
${workgroupSum(threads)}
@group(0) @binding(0) var<uniform> size: vec4u;
@group(0) @binding(1) var<storage, read> x: array<f32>;
@group(0) @binding(2) var<storage, read> affine: array<f32>;
@group(0) @binding(3) var<storage, read_write> out: array<f32>;

@compute @workgroup_size(${threads})
fn main(@builtin(workgroup_id) group: vec3u, @builtin(num_workgroups) groups: vec3u, @builtin(local_invocation_index) thread: u32) {
	let row = group_index(group, groups);
	if (row >= size.x) { return; }
	let base = row * size.z;
	let count = f32(size.y);
	var sum = 0.0;
	${kind === "layer" ? each("sum += x[base + i];") : ""}
	let mean = ${kind === "layer" ? "workgroup_sum(thread, sum) / count" : "sum"};
	var squares = 0.0;
	${each("let d = x[base + i] - mean; squares += d * d;")}
	let factor = 1.0 / sqrt(workgroup_sum(thread, squares) / count + ${literal(eps)});
	${each(
		kind === "layer"
			? "out[base + i] = (x[base + i] - mean) * factor * affine[i] + affine[size.z + i];"
			: "out[base + i] = x[base + i] * factor;",
	)}
	_ = affine[0]; // every binding has to be used
}
`;
}
