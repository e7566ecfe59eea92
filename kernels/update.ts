/**
 * Gradients and Adam in one pass per latent: a weight row's gradient is summed in registers from the latent's
 * entries and used at once, so that no gradient matrix ever exists. State and arithmetic are float32.
 */
import { CONTROL } from "./loss.ts";
import { ENTRY } from "./order.ts";
import { GROUP_INDEX, STEP_PARAMS, unroll, workgroupSum } from "./wgsl.ts";

/** Adam (Kingma & Ba 2015) for one number or vector, in the arrangement PyTorch uses. */
export const ADAM = (type: "f32" | "vec4f") => /* wgsl */ `
fn adam(weight: ${type}, gradient: ${type}, m: ptr<function, ${type}>, v: ptr<function, ${type}>) -> ${type} {
	*m = step.beta1 * *m + (1.0 - step.beta1) * gradient;
	*v = step.beta2 * *v + (1.0 - step.beta2) * gradient * gradient;
	return weight - step.lr * step.correct1 * *m / (sqrt(*v) * step.correct2 + step.epsilon);
}
`;

export interface UpdateRowsShape {
	/** Padded columns of the matrix. */
	readonly width: number;
	/** Threads that share a row, a power of two. */
	readonly threads: number;
	/** Rows of the batch or micro-batch; code rows of later terms lie behind each other. */
	readonly rows: number;
	/** Entries that one workgroup sums in a row; a latent with more is summed in segments of this many, side by side. */
	readonly segment: number;
	/** Which matrix: W_dec sums decoder weights · errors, W_enc sums encoder weights · centred inputs. */
	readonly matrix: "encoder" | "decoder";
	/** Rows keep unit norm: the gradient's part along the row is removed and the row rescaled. */
	readonly unitRows: boolean;
	/** Whether the gradient is summed from the latent's entries, or was collected in rows, micro-batch by micro-batch. */
	readonly from: "entries" | "rows";
	/**
	 * `norm` only measures the gradient (for clipping), `update` applies it, `gradient` writes it out, for weights that are
	 * themselves made of others, `collect` adds what entries say to such rows.
	 */
	readonly mode: "norm" | "update" | "gradient" | "collect";
	/** A further part of the gradient: a multiple of one row for every latent, or of the row's own direction. */
	readonly further?: Further;
}

export type Further =
	/** factor[latent] · sums. */
	| { readonly kind: "row" }
	/** factor[latent] · each block of the row's columns, brought to norm 1; inverse norms by latent and block. */
	| { readonly kind: "direction"; readonly blocks: number; readonly columns: number };

/** Parts of a row per thread whose weights and moments are fetched before they are needed. */
const MOST_EARLY = 4;

const SHORTEST_SEGMENT = 128;

/**
 * Length of segments for lists of `entries` entries in all, such that the sums of the most segments they can need,
 * `width` numbers each, fit into one buffer of `bytes`.
 */
export function segmentLength(entries: number, width: number, bytes: number): number {
	let length = SHORTEST_SEGMENT;
	while (mostSegments(entries, length) * width * 4 > bytes) length *= 2;
	return length;
}

/** Workgroups that take segments in turns: most steps have few, and room for very many. */
export const SEGMENT_GROUPS = 4096;

/** The most segments that `entries` entries can need: a latent has them only beyond one whole segment. */
export function mostSegments(entries: number, length: number): number {
	return Math.ceil((2 * entries) / length);
}

/** WGSL pieces that sum a latent's entries into the registers g0, g1, …, of `width / 4 / threads` vec4 per thread. */
function summation(shape: Pick<UpdateRowsShape, "width" | "threads" | "rows" | "matrix">) {
	const { width, threads, rows, matrix } = shape;
	const lanes = width / 4;
	const each = Math.ceil(lanes / threads);
	const column = (i: number) => (i === 0 ? "thread" : `(thread + ${i * threads}u)`);
	const guarded = (i: number, text: string) =>
		(i + 1) * threads <= lanes ? text : `if (${column(i)} < ${lanes}u) { ${text} }`;
	const row = (entry: string) => (matrix === "encoder" ? `(${entry}.row % ${rows}u)` : `${entry}.row`);
	/** Entries whose rows a GPU fetches together; sums keep their order. Compilers for CPUs take long over such text. */
	const together = threads > 32 ? 4 : 1;
	const add = (count: number) => `
		${unroll(count, (j) => `let n${j} = entries[e + ${j}u]; let at${j} = ${row(`n${j}`)} * ${lanes}u;`)}
		${unroll(each, (i) =>
			guarded(
				i,
				`${unroll(count, (j) => `let s${i}_${j} = source[at${j} + ${column(i)}];`)}
		${unroll(count, (j) => `g${i} += n${j}.${matrix} * s${i}_${j};`)}`,
			),
		)}`;
	return {
		lanes,
		each,
		column,
		guarded,
		declare: unroll(each, (i) => `var g${i} = vec4f();`),
		sumEntries: `
	for (; e + ${together}u <= end; e += ${together}u) { ${add(together)} }
	${together > 1 ? `for (; e < end; e++) { ${add(1)} }` : ""}`,
	};
}

/**
 * Sums of the segments of long lists.
 * Bindings: segment offsets [latents + 1] (segments before each latent), segment latents, offsets, entries, source
 * rows, partial [segments, width], uniform { d_sae }. Workgroups take segments in turns.
 */
export function sumSegments(
	shape: Pick<UpdateRowsShape, "width" | "threads" | "rows" | "segment" | "matrix">,
): string {
	const { lanes, each, column, guarded, declare, sumEntries } = summation(shape);
	return /* wgsl */ `
${GROUP_INDEX}
${ENTRY}
@group(0) @binding(0) var<storage, read> segment_offsets: array<u32>;
@group(0) @binding(1) var<storage, read> segment_latents: array<u32>;
@group(0) @binding(2) var<storage, read> offsets: array<u32>;
@group(0) @binding(3) var<storage, read> entries: array<Entry>;
@group(0) @binding(4) var<storage, read> source: array<vec4f>;
@group(0) @binding(5) var<storage, read_write> partial: array<vec4f>;
@group(0) @binding(6) var<uniform> size: vec4u;

@compute @workgroup_size(${shape.threads})
fn main(@builtin(workgroup_id) group: vec3u, @builtin(num_workgroups) groups: vec3u, @builtin(local_invocation_index) thread: u32) {
	let end_segment = segment_offsets[size.x];
	for (var segment = group_index(group, groups); segment < end_segment; segment += groups.x * groups.y) {
		let latent = segment_latents[segment];
		var e = offsets[latent] + (segment - segment_offsets[latent]) * ${shape.segment}u;
		let end = min(e + ${shape.segment}u, offsets[latent + 1u]);
		${declare}
		${sumEntries}
		${unroll(each, (i) => guarded(i, `partial[segment * ${lanes}u + ${column(i)}] = g${i};`))}
	}
}
`;
}

/** What {@link updateRows} binds, by name. */
const ROW_BINDINGS = {
	offsets: "<storage, read> offsets: array<u32>",
	entries: "<storage, read> entries: array<Entry>",
	source: "<storage, read> source: array<vec4f>",
	control: "<storage, read> control: array<f32>",
	segmentOffsets: "<storage, read> segment_offsets: array<u32>",
	partial: "<storage, read> partial: array<vec4f>",
	gradients: "<storage, read_write> gradients: array<vec4f>",
	moments: "<storage, read_write> moments: array<vec4f>",
	norms: "<storage, read_write> norms: array<f32>",
	weights: "<storage, read_write> weights: array<vec4f>",
	step: "<uniform> step: Step",
	factors: "<storage, read> factors: array<f32>",
	sums: "<storage, read> sums: array<vec4f>",
	inverse: "<storage, read> inverse: array<f32>",
} as const;

/** Names of the bindings of {@link updateRows} after the first, in order. */
export function rowBindings(shape: UpdateRowsShape): (keyof typeof ROW_BINDINGS)[] {
	const { from, mode, unitRows, further } = shape;
	const entries = from === "entries";
	// They are not read for a gradient that does not depend on them and is not applied.
	const weights = unitRows || mode === "update" || further?.kind === "direction";
	return [
		...(entries ? (["offsets", "entries", "source"] as const) : []),
		"control",
		...(entries ? (["segmentOffsets", "partial"] as const) : []),
		...(!entries || mode === "gradient" || mode === "collect" ? (["gradients"] as const) : []),
		...(mode === "update" ? (["moments"] as const) : mode === "norm" ? (["norms"] as const) : []),
		...(weights ? (["weights"] as const) : []),
		...(mode === "update" ? (["step"] as const) : []),
		...(further ? (["factors", further.kind === "row" ? "sums" : "inverse"] as const) : []),
	];
}

/**
 * Bindings: uniform { first latent, latents, unused, unused }, then {@link rowBindings}: of entries offsets, entries, source
 * rows (errors or centred inputs), segment offsets and partial sums of segments; gradients shard [latents, width]; moments
 * shard [latents, 2, width]; squared norms [latents]; weights shard [latents, width]; the step uniform; with a further part
 * factors [latents] and its sums [width] or inverse norms [latents, blocks]. One workgroup per latent of the shard.
 */
export function updateRows(shape: UpdateRowsShape): string {
	const { unitRows, from, mode, further } = shape;
	const { lanes, each, column, guarded, declare, sumEntries } = summation(shape);
	const bindings = rowBindings(shape);
	const needsWeights = bindings.includes("weights");
	// Fetched while the entries are looked up, where there are registers to hold them.
	const early = each <= MOST_EARLY;
	const state = [
		...(needsWeights
			? [unroll(each, (i) => `var w${i} = vec4f(); ${guarded(i, `w${i} = weights[base + ${column(i)}];`)}`)]
			: []),
		...(mode === "update"
			? [
					unroll(
						each,
						(i) =>
							`var m${i} = vec4f(); var v${i} = vec4f(); ${guarded(i, `m${i} = moments[moment + ${column(i)}]; v${i} = moments[moment + ${lanes}u + ${column(i)}];`)}`,
					),
				]
			: []),
	].join("\n");
	return /* wgsl */ `
${mode === "update" ? STEP_PARAMS : ""}
${GROUP_INDEX}
${ENTRY}
${unitRows || mode === "norm" ? workgroupSum(shape.threads) : ""}
struct Part { start: u32, count: u32, unused0: u32, unused1: u32 }
@group(0) @binding(0) var<uniform> part: Part;
${bindings.map((name, i) => `@group(0) @binding(${i + 1}) var${ROW_BINDINGS[name]};`).join("\n")}
${mode === "update" ? ADAM("vec4f") : ""}

@compute @workgroup_size(${shape.threads})
fn main(@builtin(workgroup_id) group: vec3u, @builtin(num_workgroups) groups: vec3u, @builtin(local_invocation_index) thread: u32) {
	let local_latent = group_index(group, groups);
	if (local_latent >= part.count || control[${CONTROL.stopped}] != 0.0) { return; }
	let latent = part.start + local_latent;
	let base = local_latent * ${lanes}u;
	let moment = 2u * base;
	${early ? state : ""}
	${declare}
	${from === "entries" ? sum() : ""}
	${early ? "" : state}
	${from === "rows" ? unroll(each, (i) => guarded(i, `g${i} = gradients[base + ${column(i)}];`)) : ""}
	${further ? add(further) : ""}
	${
		unitRows
			? `var along = 0.0;
	${unroll(each, (i) => `along += dot(g${i}, w${i});`)}
	let parallel = workgroup_sum(thread, along);
	${unroll(each, (i) => `g${i} -= parallel * w${i};`)}`
			: ""
	}
	${{ update: apply, norm: () => measure(each), gradient: () => write("="), collect: () => write("+=") }[mode]()}
}
`;

	function sum(): string {
		return `
	var e = offsets[latent];
	let end = offsets[latent + 1u];
	${mode === "collect" ? "if (e == end) { return; }" : ""}
	if (end - e <= ${shape.segment}u) {
		${sumEntries}
	} else {
		let last = segment_offsets[latent + 1u];
		for (var segment = segment_offsets[latent]; segment < last; segment++) {
			${unroll(each, (i) => guarded(i, `g${i} += partial[segment * ${lanes}u + ${column(i)}];`))}
		}
	}`;
	}

	function write(how: "=" | "+="): string {
		return unroll(each, (i) => guarded(i, `gradients[base + ${column(i)}] ${how} g${i};`));
	}

	function add(part: Further): string {
		if (part.kind === "row") {
			return `let factor = factors[latent];
	if (factor != 0.0) { ${unroll(each, (i) => guarded(i, `g${i} += factor * sums[${column(i)}];`))} }`;
		}
		const one = (i: number, j: number) =>
			`inverse[latent * ${part.blocks}u + min((${column(i)} * 4u + ${j}u) / ${part.columns}u, ${part.blocks - 1}u)]`;
		return `let factor = factors[latent];
	${unroll(each, (i) =>
		guarded(
			i,
			part.blocks === 1
				? `g${i} += factor * inverse[latent] * w${i};`
				: `g${i} += factor * vec4f(${[0, 1, 2, 3].map((j) => one(i, j)).join(", ")}) * w${i};`,
		),
	)}`;
	}

	function apply(): string {
		return `
	let clip = control[${CONTROL.clip}];
	${unroll(each, (i) =>
		guarded(
			i,
			`w${i} = adam(w${i}, g${i} * clip, &m${i}, &v${i});
		moments[moment + ${column(i)}] = m${i};
		moments[moment + ${lanes}u + ${column(i)}] = v${i};`,
		),
	)}
	${
		unitRows
			? `var square = 0.0;
	${unroll(each, (i) => `square += dot(w${i}, w${i});`)}
	let inverse = inverseSqrt(max(workgroup_sum(thread, square), 1e-30));
	${unroll(each, (i) => `w${i} *= inverse;`)}`
			: ""
	}
	${unroll(each, (i) => guarded(i, `weights[base + ${column(i)}] = w${i};`))}`;
	}
}

function measure(each: number): string {
	return `
	var square = 0.0;
	${unroll(each, (i) => `square += dot(g${i}, g${i});`)}
	let total = workgroup_sum(thread, square);
	if (thread == 0u) { norms[latent] = total; }`;
}

/**
 * Bindings: step uniform, gradient [n], control, weights [n], moments [2 n], uniform { n }. A thread per number.
 * Weights may be followed by numbers that are no parameters.
 */
export const UPDATE_VECTOR = /* wgsl */ `
${STEP_PARAMS}
${GROUP_INDEX}
@group(0) @binding(0) var<uniform> step: Step;
@group(0) @binding(1) var<storage, read> gradient: array<f32>;
@group(0) @binding(2) var<storage, read> control: array<f32>;
@group(0) @binding(3) var<storage, read_write> weights: array<f32>;
@group(0) @binding(4) var<storage, read_write> moments: array<f32>;
@group(0) @binding(5) var<uniform> size: vec4u;
${ADAM("f32")}

@compute @workgroup_size(64)
fn main(@builtin(workgroup_id) group: vec3u, @builtin(num_workgroups) groups: vec3u, @builtin(local_invocation_index) thread: u32) {
	let i = group_index(group, groups) * 64u + thread;
	if (i >= size.x || control[${CONTROL.stopped}] != 0.0) { return; }
	var m = moments[i];
	var v = moments[size.x + i];
	weights[i] = adam(weights[i], gradient[i] * control[${CONTROL.clip}], &m, &v);
	moments[i] = m;
	moments[size.x + i] = v;
}
`;

/**
 * b_dec's gradient: the errors of every term that learns it, at its first block, minus what flows back through the encoder's input.
 * Bindings: control, error sums [blocks, width], through [width] (W_encᵀ · b_enc gradient, with `centre` only), out
 * [width]. A thread per column.
 */
export function decoderBiasGradient(shape: {
	width: number;
	blocks: readonly number[];
	centre: boolean;
}): string {
	const { width, blocks, centre } = shape;
	return /* wgsl */ `
@group(0) @binding(0) var<storage, read> control: array<f32>;
@group(0) @binding(1) var<storage, read> sums: array<f32>;
@group(0) @binding(2) var<storage, read_write> out: array<f32>;
${centre ? "@group(0) @binding(3) var<storage, read> through: array<f32>;" : ""}

@compute @workgroup_size(64)
fn main(@builtin(global_invocation_id) id: vec3u) {
	let column = id.x;
	if (column >= ${width}u) { return; }
	var gradient = 0.0;
	${blocks.map((block, slot) => `gradient += control[${CONTROL.scale + block}] * sums[${slot * width}u + column];`).join("\n\t")}
	${centre ? "gradient -= through[column];" : ""}
	out[column] = gradient;
}
`;
}

/** average = ema · average + (1 − ema) · weights. Bindings: step uniform, control, weights, average, uniform { n }. A thread per number. */
export const AVERAGE = /* wgsl */ `
${STEP_PARAMS}
${GROUP_INDEX}
@group(0) @binding(0) var<uniform> step: Step;
@group(0) @binding(1) var<storage, read> control: array<f32>;
@group(0) @binding(2) var<storage, read> weights: array<f32>;
@group(0) @binding(3) var<storage, read_write> average: array<f32>;
@group(0) @binding(4) var<uniform> size: vec4u;

@compute @workgroup_size(64)
fn main(@builtin(workgroup_id) group: vec3u, @builtin(num_workgroups) groups: vec3u, @builtin(local_invocation_index) thread: u32) {
	let i = group_index(group, groups) * 64u + thread;
	if (i >= size.x || control[${CONTROL.stopped}] != 0.0) { return; }
	average[i] = step.ema * average[i] + (1.0 - step.ema) * weights[i];
}
`;
