/** Exclusive prefix sums of u32 counts, in three dispatches. */
import type { Gpu } from "./gpu.ts";
import { type Binding, type Dispatch, dispatch } from "./program.ts";
import { GROUP_INDEX } from "./wgsl.ts";

const THREADS = 256;
const PER_THREAD = 4;
const BLOCK = THREADS * PER_THREAD;

/** The prefix of one value per thread, and the total, by doubling steps. */
const WORKGROUP_SCAN = /* wgsl */ `
var<workgroup> scan_scratch: array<u32, ${THREADS}>;
// Returns the sum of the values of the threads before this one; the total is left in scan_scratch[${THREADS - 1}].
fn workgroup_scan(thread: u32, value: u32) -> u32 {
	scan_scratch[thread] = value;
	workgroupBarrier();
	for (var reach = 1u; reach < ${THREADS}u; reach <<= 1u) {
		var before = 0u;
		if (thread >= reach) { before = scan_scratch[thread - reach]; }
		workgroupBarrier();
		scan_scratch[thread] += before;
		workgroupBarrier();
	}
	return scan_scratch[thread] - value;
}
`;

const SCAN_BLOCKS = /* wgsl */ `
${GROUP_INDEX}
${WORKGROUP_SCAN}
@group(0) @binding(0) var<storage, read> counts: array<u32>;
@group(0) @binding(1) var<storage, read_write> offsets: array<u32>;
@group(0) @binding(2) var<storage, read_write> totals: array<u32>;
@group(0) @binding(3) var<uniform> size: vec4u;

@compute @workgroup_size(${THREADS})
fn main(@builtin(workgroup_id) group: vec3u, @builtin(num_workgroups) groups: vec3u, @builtin(local_invocation_index) thread: u32) {
	let block = group_index(group, groups);
	let first = block * ${BLOCK}u + thread * ${PER_THREAD}u;
	var own: array<u32, ${PER_THREAD}>;
	var sum = 0u;
	for (var i = 0u; i < ${PER_THREAD}u; i++) {
		if (first + i < size.x) { own[i] = counts[first + i]; }
		sum += own[i];
	}
	var running = workgroup_scan(thread, sum);
	for (var i = 0u; i < ${PER_THREAD}u; i++) {
		if (first + i < size.x) { offsets[first + i] = running; }
		running += own[i];
	}
	if (thread == ${THREADS - 1}u && block < size.y) { totals[block] = running; }
}
`;

const SCAN_TOTALS = /* wgsl */ `
${WORKGROUP_SCAN}
@group(0) @binding(0) var<storage, read_write> totals: array<u32>;
@group(0) @binding(1) var<uniform> size: vec4u;

@compute @workgroup_size(${THREADS})
fn main(@builtin(local_invocation_index) thread: u32) {
	var carried = 0u;
	for (var block = 0u; block < size.y; block += ${THREADS}u) {
		let at = block + thread;
		var value = 0u;
		if (at < size.y) { value = totals[at]; }
		let before = workgroup_scan(thread, value);
		if (at < size.y) { totals[at] = carried + before; }
		carried += scan_scratch[${THREADS - 1}];
		workgroupBarrier();
	}
	if (thread == 0u) { totals[size.y] = carried; }
}
`;

const ADD_TOTALS = /* wgsl */ `
${GROUP_INDEX}
@group(0) @binding(0) var<storage, read_write> offsets: array<u32>;
@group(0) @binding(1) var<storage, read> totals: array<u32>;
@group(0) @binding(2) var<uniform> size: vec4u;

@compute @workgroup_size(${THREADS})
fn main(@builtin(workgroup_id) group: vec3u, @builtin(num_workgroups) groups: vec3u, @builtin(local_invocation_index) thread: u32) {
	let block = group_index(group, groups);
	for (var i = thread; i < ${BLOCK}u; i += ${THREADS}u) {
		let at = block * ${BLOCK}u + i;
		if (at < size.x) { offsets[at] += totals[block]; }
	}
	if (block == 0u && thread == 0u) { offsets[size.x] = totals[size.y]; }
}
`;

/** offsets[i] = counts[0] + … + counts[i − 1] for i = 0 … n; `offsets` has n + 1 elements. */
export function exclusiveScan(
	gpu: Gpu,
	label: string,
	counts: Binding,
	offsets: Binding,
	n: number,
): Dispatch[] {
	const blocks = Math.ceil(n / BLOCK);
	const totals = gpu.buffer(`${label} totals`, (blocks + 1) * 4);
	const size = gpu.constants(n, blocks);
	return [
		dispatch(gpu, `${label}: blocks`, SCAN_BLOCKS, [counts, offsets, totals, size], blocks),
		dispatch(gpu, `${label}: totals`, SCAN_TOTALS, [totals, size], 1),
		dispatch(gpu, `${label}: add`, ADD_TOTALS, [offsets, totals, size], blocks),
	];
}
