/** The pre-activation loss of dead latents, whose gradient is nearly the same for every row. */
import { declareNames, type Names } from "./formula.ts";
import { eachLatent, GROUP_INDEX, literal, STEP_PARAMS, workgroupSum } from "./wgsl.ts";

export interface ReviveShape {
	readonly names: Names;
	readonly weight: number;
	readonly dthreshold: Readonly<Record<string, string>>;
	/** Rows of the gradient. */
	readonly gradientRows: readonly string[];
}

/**
 * What weight · Σ ReLU(threshold − z) · norm / rows gives if every row is below the threshold; codes above it have taken
 * their part back.
 * Bindings: step uniform, uniform { d_sae, stride }, vectors, gradient [rows, stride], factors [latents] (of the sum of
 * the encoder's inputs in W_enc's gradient). A thread per latent.
 */
export function reviveLatents({ names, weight, dthreshold, gradientRows }: ReviveShape): string {
	return /* wgsl */ `
${STEP_PARAMS}
@group(0) @binding(0) var<uniform> step: Step;
@group(0) @binding(1) var<uniform> size: vec4u;
@group(0) @binding(2) var<storage, read> vectors: array<f32>;
@group(0) @binding(3) var<storage, read_write> gradient: array<f32>;
@group(0) @binding(4) var<storage, read_write> factors: array<f32>;

${eachLatent(`
	${declareNames(names, ["norm", "dead", ...Object.values(dthreshold)], "size.y")}
	var pull = 0.0;
	if (dead != 0.0) { pull = ${literal(weight)} * norm; }
	factors[latent] = -pull / f32(step.rows);
	gradient[latent] -= pull;
	${gradientRows
		.map((name, row) =>
			dthreshold[name] ? `gradient[${row}u * size.y + latent] += pull * (${dthreshold[name]});` : "",
		)
		.join("\n\t")}
`)}
`;
}

/**
 * Each row's Σ ReLU(threshold − z) · norm over dead latents.
 * Bindings: step uniform, uniform { first row, rows, stride }, pre [rows, stride], dead list (count first), vectors,
 * losses [rows]. One workgroup per row of the chunk.
 */
export function revivalLosses(shape: { names: Names; threshold: string; threads: number }): string {
	const { names, threshold, threads } = shape;
	return /* wgsl */ `
${STEP_PARAMS}
${GROUP_INDEX}
${workgroupSum(threads)}
@group(0) @binding(0) var<uniform> step: Step;
@group(0) @binding(1) var<uniform> chunk: vec4u;
@group(0) @binding(2) var<storage, read> pre: array<f32>;
@group(0) @binding(3) var<storage, read> list: array<u32>;
@group(0) @binding(4) var<storage, read> vectors: array<f32>;
@group(0) @binding(5) var<storage, read_write> losses: array<f32>;

@compute @workgroup_size(${threads})
fn main(@builtin(workgroup_id) group: vec3u, @builtin(num_workgroups) groups: vec3u, @builtin(local_invocation_index) thread: u32) {
	let chunk_row = group_index(group, groups);
	if (chunk_row >= chunk.y || chunk.x + chunk_row >= step.rows) { return; }
	var mine = 0.0;
	for (var i = thread; i < list[0]; i += ${threads}u) {
		let latent = list[1u + i];
		${declareNames(names, [threshold, "norm"], "chunk.z")}
		mine += max((${threshold}) - pre[chunk_row * chunk.z + latent], 0.0) * norm;
	}
	let total = workgroup_sum(thread, mine);
	if (thread == 0u) { losses[chunk.x + chunk_row] = total; }
}
`;
}
