/** What a device can do at the most, measured with kernels that do nothing else. */
import { type Gpu, GpuError } from "../kernels/gpu.ts";
import { profile } from "../kernels/profile.ts";
import { type Dispatch, dispatch } from "../kernels/program.ts";
import { GROUP_INDEX, unroll } from "../kernels/wgsl.ts";
import type { Unit } from "./counts.ts";

/** Bytes that a copy moves in a second, read and written; operations in a second, where the device has such units. */
export interface Ceilings {
	readonly bytes: number;
	readonly operations: Readonly<Partial<Record<Unit, number>>>;
}

const RUNS = 8;
/** Of each of the two buffers of a copy: far more than a GPU's caches hold. */
const COPIED = { gpu: 2 ** 30, software: 2 ** 26 };
const GROUPS = { gpu: 2 ** 14, software: 2 ** 7 };
const ROUNDS = 256;

export async function measureCeilings(gpu: Gpu): Promise<Ceilings> {
	const kind = gpu.info.software ? "software" : "gpu";
	const tensor = gpu.halfProduct ? await tensorRate(gpu, GROUPS[kind] / 8) : undefined;
	return {
		bytes: await copyRate(gpu, Math.min(COPIED[kind], 2 ** Math.floor(Math.log2(gpu.maxBinding)))),
		operations: {
			f32: await multiplyAddRate(gpu, GROUPS[kind]),
			...(tensor !== undefined && { tensor }),
		},
	};
}

/** The least time of several runs, in seconds. */
async function seconds(gpu: Gpu, kernel: Dispatch): Promise<number> {
	const times = await profile(
		gpu,
		Array.from({ length: RUNS }, () => kernel),
	);
	return Math.min(...times.map(({ nanoseconds }) => nanoseconds)) / 1e9;
}

const COPY_THREADS = 256;

const COPY = /* wgsl */ `
${GROUP_INDEX}
@group(0) @binding(0) var<storage, read> source: array<vec4f>;
@group(0) @binding(1) var<storage, read_write> target_rows: array<vec4f>;
@compute @workgroup_size(${COPY_THREADS})
fn main(@builtin(workgroup_id) group: vec3u, @builtin(num_workgroups) groups: vec3u, @builtin(local_invocation_index) thread: u32) {
	let i = group_index(group, groups) * ${COPY_THREADS}u + thread;
	if (i < arrayLength(&source)) { target_rows[i] = source[i]; }
}
`;

async function copyRate(gpu: Gpu, bytes: number): Promise<number> {
	const [from, to] = [gpu.buffer("copied", bytes), gpu.buffer("copy", bytes)];
	const time = await seconds(gpu, dispatch(gpu, "copy", COPY, [from, to], bytes / 16 / COPY_THREADS));
	from.destroy();
	to.destroy();
	return (2 * bytes) / time;
}

const THREADS = 256;
/** Sums that a thread has under way, of four numbers each. */
const SUMS = 8;

const MULTIPLY_ADD = /* wgsl */ `
@group(0) @binding(0) var<storage, read_write> out: array<f32>;
@compute @workgroup_size(${THREADS})
fn main(@builtin(local_invocation_index) thread: u32) {
	let factor = vec4f(1.0 - f32(thread) * 1e-6);
	let addend = vec4f(f32(thread) * 1e-6);
	${unroll(SUMS, (i) => `var sum${i} = vec4f(${i}.0);`)}
	for (var round = 0u; round < ${ROUNDS}u; round++) {
		${unroll(SUMS, (i) => `sum${i} = fma(sum${i}, factor, addend);`)}
	}
	let all = ${Array.from({ length: SUMS }, (_, i) => `sum${i}`).join(" + ")};
	// Never so, but the compiler can't know.
	if (all.x + all.y + all.z + all.w == -1.0) { out[0] = all.x; }
}
`;

async function multiplyAddRate(gpu: Gpu, groups: number): Promise<number> {
	const out = gpu.buffer("unused", 16);
	const time = await seconds(gpu, dispatch(gpu, "multiply and add", MULTIPLY_ADD, [out], groups));
	out.destroy();
	return (2 * 4 * SUMS * ROUNDS * THREADS * groups) / time;
}

const SUBGROUPS = 4;
/** Matrices on either side of what a subgroup makes, of 16 × 16 each. */
const ACROSS = 4;
const SIDE = 16;
/** Units of sixteen bytes in a row of float16, and in one of float32. */
const [HALF_ROW, ROW] = [2, 4];
const OPERAND = ACROSS * SIDE * HALF_ROW;

/** Products of matrices that stay in registers, in the manner of kernels/tensor-product.ts. */
const TENSOR = /* wgsl */ `
enable f16;
enable subgroups;
enable chromium_experimental_subgroup_matrix;
@group(0) @binding(0) var<storage, read_write> out: array<f32>;
var<workgroup> staged: array<vec4u, ${2 * OPERAND + SUBGROUPS * SIDE * ROW}>;

@compute @workgroup_size(${32 * SUBGROUPS})
fn main(@builtin(local_invocation_index) thread: u32, @builtin(subgroup_id) subgroup: u32, @builtin(subgroup_invocation_id) lane: u32) {
	// Numbers from 1/16 to 1/8, none like its neighbour, for zeros would be faster.
	for (var i = thread; i < ${2 * OPERAND}u; i += ${32 * SUBGROUPS}u) {
		let mixed = vec4u(i, i + 7u, i + 29u, i + 71u) * 0x9e3779b1u;
		staged[i] = (mixed & vec4u(0x03ff03ffu)) | vec4u(0x2c002c00u);
	}
	workgroupBarrier();
	${unroll(ACROSS, (i) => `let a${i} = subgroupMatrixLoad<subgroup_matrix_left<f16, ${SIDE}, ${SIDE}>, row_major>(&staged, ${i * SIDE * HALF_ROW}u, ${HALF_ROW}u);`)}
	${unroll(ACROSS, (i) => `let b${i} = subgroupMatrixLoad<subgroup_matrix_right<f16, ${SIDE}, ${SIDE}>, col_major>(&staged, ${OPERAND + i * SIDE * HALF_ROW}u, ${HALF_ROW}u);`)}
	${unroll(ACROSS, (i) => unroll(ACROSS, (j) => `var sum${i}_${j}: subgroup_matrix_result<f32, ${SIDE}, ${SIDE}>;`))}
	for (var round = 0u; round < ${ROUNDS}u; round++) {
		${unroll(ACROSS, (i) => unroll(ACROSS, (j) => `sum${i}_${j} = subgroupMatrixMultiplyAccumulate(a${i}, b${j}, sum${i}_${j});`))}
	}
	let own = ${2 * OPERAND}u + subgroup * ${SIDE * ROW}u;
	var total = 0.0;
	${unroll(ACROSS, (i) =>
		unroll(
			ACROSS,
			(j) => `subgroupMatrixStore<row_major>(&staged, own, sum${i}_${j}, ${ROW}u);
	workgroupBarrier();
	total += bitcast<f32>(staged[own + lane].x);
	workgroupBarrier();`,
		),
	)}
	if (total == -1.0) { out[0] = total; }
}
`;

/** Nothing where the device refuses the kernel, which is said. */
async function tensorRate(gpu: Gpu, groups: number): Promise<number | undefined> {
	const out = gpu.buffer("unused", 16);
	try {
		const kernel = await gpu.checked("products on tensor cores", () =>
			dispatch(gpu, "tensor products", TENSOR, [out], groups),
		);
		return (2 * SIDE ** 3 * ACROSS ** 2 * ROUNDS * SUBGROUPS * groups) / (await seconds(gpu, kernel));
	} catch (error) {
		if (!(error instanceof GpuError)) throw error;
		console.error(`the rate of tensor cores is not known: ${error.message}`);
		return undefined;
	} finally {
		out.destroy();
	}
}
