/**
 * Rows that are made and become parts of float16 (split.ts) at once, without going through memory in between: what a
 * product takes, where nobody asked for what it is made of.
 */
import { GROUP_INDEX, literal, unroll, workgroupSum } from "../wgsl.ts";
import { type Activation, activationFunction } from "./map.ts";
import type { NormShape } from "./norm.ts";
import { SPLIT_ROW } from "./split.ts";

export type Made =
	/** Of x, normalised; with `add`, x becomes x + o first. */
	| { readonly kind: "norm"; readonly norm: Pick<NormShape, "kind" | "eps">; readonly add: boolean }
	/** activation(x), or with `gated` activation(x) · o */
	| { readonly kind: "activate"; readonly activation: Activation; readonly gated: boolean };

/** Vectors of four that a thread holds of a row, at the most. */
const HELD = 8;

/**
 * Bindings: uniform { rows, width }, x [rows, stride], with `add` or `gated` o [rows, stride], for a norm its affine [2,
 * stride] (norm.ts), halves [rows, stride · parts], inverse of each row's scale. A workgroup per row.
 */
export function splitMade(made: Made, stride: number, parts: 1 | 2, least: number): string {
	const fours = stride / 4;
	const threads = Math.max(least, Math.min(256, 2 ** Math.ceil(Math.log2(fours / HELD))));
	const count = Math.ceil(fours / threads);
	const second = made.kind === "norm" ? made.add : made.gated;
	const whole = fours % threads === 0;
	const each = (text: (i: number) => string) =>
		unroll(count, (i) => {
			const own = `let column = thread + ${i * threads}u;`;
			return whole ? `{ ${own} ${text(i)} }` : `{ ${own} if (column < ${fours}u) { ${text(i)} } }`;
		});
	let binding = second ? 3 : 2;
	const next = () => binding++;
	return /* wgsl */ `
${GROUP_INDEX}
${workgroupSum(threads)}
${SPLIT_ROW}
@group(0) @binding(0) var<uniform> size: vec4u;
@group(0) @binding(1) var<storage, ${made.kind === "norm" && made.add ? "read_write" : "read"}> x: array<vec4f>;
${second ? "@group(0) @binding(2) var<storage, read> o: array<vec4f>;" : ""}
${made.kind === "norm" ? `@group(0) @binding(${next()}) var<storage, read> affine: array<vec4f>;` : activationFunction(made.activation)}
@group(0) @binding(${next()}) var<storage, read_write> halves: array<vec2u>;
@group(0) @binding(${next()}) var<storage, read_write> scale: array<f32>;

@compute @workgroup_size(${threads})
fn main(@builtin(workgroup_id) group: vec3u, @builtin(num_workgroups) groups: vec3u, @builtin(local_invocation_index) thread: u32) {
	let row = group_index(group, groups);
	if (row >= size.x) { return; }
	let base = row * ${fours}u;
	${unroll(count, (i) => `var value${i} = vec4f();`)}
	${made.kind === "norm" ? normalised(made, each, fours, count) : each((i) => `value${i} = activation(x[base + column])${made.gated ? " * o[base + column]" : ""};`)}
	var extent = 0.0;
	${unroll(count, (i) => `extent = max(extent, largest_of(value${i}));`)}
	atomicMax(&biggest, bitcast<u32>(extent));
	workgroupBarrier();
	let factors = factors_of(atomicLoad(&biggest));
	if (thread == 0u) { scale[row] = factors.y; }
	${each(
		(i) => `
	let scaled = value${i} * factors.x;
	let half = quantizeToF16(scaled);
	let at = base * ${parts}u + column / 4u * ${4 * parts}u + column % 4u;
	halves[at] = pack_four(half);
	${parts === 2 ? "halves[at + 4u] = pack_four(scaled - half);" : ""}`,
	)}
}
`;
}

/** Padding is no part of the sums; weights and biases of it are zero. */
function normalised(
	{ norm: { kind, eps }, add }: Extract<Made, { kind: "norm" }>,
	each: (text: (i: number) => string) => string,
	fours: number,
	count: number,
): string {
	const sum = (text: (i: number) => string) =>
		`(${Array.from({ length: count }, (_, i) => text(i)).join(" + ")})`;
	return /* wgsl */ `
	${each((i) =>
		add
			? `value${i} = x[base + column] + o[base + column]; x[base + column] = value${i};`
			: `value${i} = x[base + column];`,
	)}
	let count = f32(size.y);
	${
		kind === "layer"
			? `let mean = workgroup_sum(thread, dot(${sum((i) => `value${i}`)}, vec4f(1.0))) / count;
	${each((i) => `let at = vec4u(4u * column) + vec4u(0u, 1u, 2u, 3u); value${i} = select(value${i} - mean, vec4f(), at >= vec4u(size.y));`)}`
			: ""
	}
	let factor = 1.0 / sqrt(workgroup_sum(thread, ${sum((i) => `dot(value${i}, value${i})`)}) / count + ${literal(eps)});
	${each((i) => `value${i} = value${i} * factor * affine[column]${kind === "layer" ? ` + affine[${fours}u + column]` : ""};`)}
	`;
}
