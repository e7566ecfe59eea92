/** Codes → reconstructions, errors, and what the loss passes back to the codes. */
import { GROUP_INDEX, unroll, workgroupSum } from "./wgsl.ts";

export interface DecodeShape {
	/** Padded d_out. */
	readonly width: number;
	/** Threads that share a row, a power of two. */
	readonly threads: number;
	/**
	 * What the row starts from before its latents are added: nothing, b_dec (a reconstruction), b_dec − x (an
	 * error), −x, another error (the first term's, of which this one fits the rest, or that of the part before), or
	 * what an earlier shard left.
	 */
	readonly start: "zero" | "bias" | "bias_minus_x" | "minus_x" | "other" | "partial";
	/** Also write each row's squared norm: set for the last shard of an error. */
	readonly last: boolean;
	/** Skip everything while no latent is dead: such a term has nothing to say. */
	readonly deadOnly: boolean;
}

/** Names of the bindings after the fixed ones, in order. */
export function decodeBindings({
	start,
	last,
	deadOnly,
}: DecodeShape): ("b_dec" | "x" | "squared" | "list")[] {
	return [
		...(start === "bias" || start === "bias_minus_x" ? (["b_dec"] as const) : []),
		...(start === "bias_minus_x" || start === "minus_x" ? (["x"] as const) : []),
		...(last ? (["squared"] as const) : []),
		...(deadOnly ? (["list"] as const) : []),
	];
}

/**
 * Bindings: uniform { rows, first code row, first latent, end latent, first row of the other error }, W_dec shard
 * [latents, width], index, value, span, out [code rows, width], then {@link decodeBindings}.
 * out[v] = start + Σ value · W_dec[index] over the entries of v within the shard, in order, float32.
 * One workgroup per row.
 */
export function decodeRows(shape: DecodeShape): string {
	const { threads } = shape;
	const lanes = shape.width / 4;
	const each = Math.ceil(lanes / threads);
	const extra: Record<string, string> = {
		b_dec: "<storage, read> b_dec: array<vec4f>",
		x: "<storage, read> x: array<vec4f>",
		squared: "<storage, read_write> squared: array<f32>",
		list: "<storage, read> list: array<u32>",
	};
	const start: Record<DecodeShape["start"], (column: string) => string> = {
		zero: () => "vec4f()",
		bias: (column) => `b_dec[${column}]`,
		bias_minus_x: (column) => `b_dec[${column}] - x[row * ${lanes}u + ${column}]`,
		minus_x: (column) => `-x[row * ${lanes}u + ${column}]`,
		other: (column) => `out[(part.other + row) * ${lanes}u + ${column}]`,
		partial: (column) => `out[v * ${lanes}u + ${column}]`,
	};
	const guarded = (i: number, text: (column: string) => string) => {
		const column = i === 0 ? "thread" : `(thread + ${i * threads}u)`;
		const whole = (i + 1) * threads <= lanes;
		return whole ? text(column) : `if (${column} < ${lanes}u) { ${text(column)} }`;
	};
	return /* wgsl */ `
${GROUP_INDEX}
${shape.last ? workgroupSum(threads) : ""}
struct Part { rows: u32, code_row: u32, start: u32, end: u32, other: u32, unused0: u32, unused1: u32, unused2: u32 }
@group(0) @binding(0) var<uniform> part: Part;
@group(0) @binding(1) var<storage, read> w_dec: array<vec4f>;
@group(0) @binding(2) var<storage, read> index: array<u32>;
@group(0) @binding(3) var<storage, read> value: array<f32>;
@group(0) @binding(4) var<storage, read> span: array<vec2u>;
@group(0) @binding(5) var<storage, read_write> out: array<vec4f>;
${decodeBindings(shape)
	.map((name, i) => `@group(0) @binding(${6 + i}) var${extra[name]};`)
	.join("\n")}

@compute @workgroup_size(${threads})
fn main(@builtin(workgroup_id) group: vec3u, @builtin(num_workgroups) groups: vec3u, @builtin(local_invocation_index) thread: u32) {
	let row = group_index(group, groups);
	if (row >= part.rows) { return; }
	let v = part.code_row + row;
	${shape.deadOnly ? `if (list[0] == 0u) { ${shape.last ? "if (thread == 0u) { squared[v] = 0.0; }" : ""} return; }` : ""}
	${unroll(each, (i) => `var acc${i} = vec4f(); ${guarded(i, (column) => `acc${i} = ${start[shape.start](column)};`)}`)}
	let entries = span[v];
	for (var e = entries.x; e < entries.y; e++) {
		let latent = index[e];
		let f = value[e];
		// Codes of 0 are there for their gradients alone.
		if (latent < part.start || latent >= part.end || f == 0.0) { continue; }
		let at = (latent - part.start) * ${lanes}u;
		${unroll(each, (i) => guarded(i, (column) => `acc${i} += f * w_dec[at + ${column}];`))}
	}
	${unroll(each, (i) => guarded(i, (column) => `out[v * ${lanes}u + ${column}] = acc${i};`))}
	${
		shape.last
			? `var mine = 0.0;
	${unroll(each, (i) => `mine += dot(acc${i}, acc${i});`)}
	let total = workgroup_sum(thread, mine);
	if (thread == 0u) { squared[v] = total; }`
			: ""
	}
}
`;
}

/** Entries whose partial products wait in workgroup memory at a time. */
const SLAB = 64;

/** Parts of a row that a GPU fetches together. Compilers for CPUs take long over such text. */
const TOGETHER = 8;

/**
 * What each code contributes to the error: slope[e] = ⟨error[v], W_dec[index[e]]⟩, unscaled; and any other products of
 * rows with those of a matrix that lists name.
 * Bindings: uniform { code rows, row of the first error, first latent, end latent }, W_dec shard, index, span, error,
 * slope. One workgroup per code row; `lanes` of the `threads` share an entry. A shard writes only its own entries.
 */
export function codeSlopes(shape: { width: number; lanes: number; threads: number }): string {
	const pitch = shape.width / 4;
	const { lanes, threads } = shape;
	const teams = threads / lanes;
	const parts = pitch / lanes;
	const column = (i: number) => `lane + ${i * lanes}u`;
	const dots =
		Number.isInteger(parts) && parts <= TOGETHER && lanes >= 32
			? `${unroll(parts, (i) => `let w${i} = w_dec[at + ${column(i)}];`)}
				${unroll(parts, (i) => `sum += dot(w${i}, row_error[${column(i)}]);`)}`
			: `for (var column = lane; column < ${pitch}u; column += ${lanes}u) { sum += dot(w_dec[at + column], row_error[column]); }`;
	return /* wgsl */ `
${GROUP_INDEX}
struct Part { rows: u32, source: u32, start: u32, end: u32 }
@group(0) @binding(0) var<uniform> part: Part;
@group(0) @binding(1) var<storage, read> w_dec: array<vec4f>;
@group(0) @binding(2) var<storage, read> index: array<u32>;
@group(0) @binding(3) var<storage, read> span: array<vec2u>;
@group(0) @binding(4) var<storage, read> error: array<vec4f>;
@group(0) @binding(5) var<storage, read_write> slope: array<f32>;

var<workgroup> row_error: array<vec4f, ${pitch}>;
var<workgroup> partial: array<f32, ${SLAB * lanes}>;

@compute @workgroup_size(${threads})
fn main(@builtin(workgroup_id) group: vec3u, @builtin(num_workgroups) groups: vec3u, @builtin(local_invocation_index) thread: u32) {
	let v = group_index(group, groups);
	if (v >= part.rows) { return; }
	let entries = span[v];
	if (entries.x == entries.y) { return; }
	for (var column = thread; column < ${pitch}u; column += ${threads}u) { row_error[column] = error[(part.source + v) * ${pitch}u + column]; }
	let team = thread / ${lanes}u;
	let lane = thread % ${lanes}u;
	for (var slab = entries.x; slab < entries.y; slab += ${SLAB}u) {
		workgroupBarrier();
		let size = min(${SLAB}u, entries.y - slab);
		for (var e = team; e < size; e += ${teams}u) {
			let latent = index[slab + e];
			var sum = 0.0;
			if (latent >= part.start && latent < part.end) {
				let at = (latent - part.start) * ${pitch}u;
				${dots}
			}
			partial[e * ${lanes}u + lane] = sum;
		}
		workgroupBarrier();
		for (var e = thread; e < size; e += ${threads}u) {
			let latent = index[slab + e];
			if (latent < part.start || latent >= part.end) { continue; }
			var sum = 0.0;
			for (var j = 0u; j < ${lanes}u; j++) { sum += partial[e * ${lanes}u + j]; }
			slope[slab + e] = sum;
		}
	}
}
`;
}
