/** Errors of nested reconstructions → what each part's latents learn from: the errors of all parts that hold them. */
import { GROUP_INDEX, literal } from "./wgsl.ts";

/**
 * Bindings: uniform { rows, first code row of the term, rows of a block }, errors [code rows, width].
 * In place, from the last part to the first: E[j] = Σ over parts g ≥ j of (weights[g] / last weight) · error[g]. The last
 * part stays as it is. A thread per four columns, a workgroup per row.
 */
export function sumNestedErrors(shape: {
	readonly width: number;
	readonly weights: readonly number[];
	readonly threads: number;
}): string {
	const { width, weights, threads } = shape;
	const last = weights.length - 1;
	return /* wgsl */ `
${GROUP_INDEX}
@group(0) @binding(0) var<uniform> part: vec4u;
@group(0) @binding(1) var<storage, read_write> error: array<vec4f>;

@compute @workgroup_size(${threads})
fn main(@builtin(workgroup_id) group: vec3u, @builtin(num_workgroups) groups: vec3u, @builtin(local_invocation_index) thread: u32) {
	let row = group_index(group, groups);
	if (row >= part.x) { return; }
	for (var column = thread; column < ${width / 4}u; column += ${threads}u) {
		let at = (part.y + row) * ${width / 4}u + column;
		let block = part.z * ${width / 4}u;
		var sum = error[at + ${last}u * block];
		${weights
			.slice(0, -1)
			.map((weight, j) => ({ weight: weight / weights[last]!, j }))
			.reverse()
			.map(
				({ weight, j }) =>
					`sum += ${literal(weight)} * error[at + ${j}u * block]; error[at + ${j}u * block] = sum;`,
			)
			.join("\n\t\t")}
	}
}
`;
}
