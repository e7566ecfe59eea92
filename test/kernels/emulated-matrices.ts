/**
 * Kernels for tensor cores in WGSL that every device runs: matrices lie in memory of the first thread of a subgroup, which
 * is taken to be 32 threads in a row, and are known by numbers. Far too slow for anything but to see that a kernel computes
 * what it should.
 */
const MATRIX = /subgroup_?[mM]atrix\w*</;

/**
 * @param never a condition of the kernel's that never holds, which the compiler doesn't know: it would write out all loops.
 * @throws for matrices of a syntax that is not known here.
 */
export function emulated(code: string, never: string): string {
	const shared = new Set<string>();
	let count = 0;
	const body = code
		.replace(/^enable .*;$/gm, "")
		.replace(
			/subgroupMatrixLoad<subgroup_matrix_\w+<f16, 16, 16>, (row_major|col_major)>\(&(\w+), /g,
			(_, order: string, array: string) => {
				shared.add(array);
				return `load_${array}(lane, ${count++}u, ${order === "row_major"}, `;
			},
		)
		.replace(/subgroupMatrixStore<row_major>\(&(\w+), /g, (_, array: string) => {
			shared.add(array);
			return `store_${array}(lane, `;
		})
		.replaceAll("subgroupMatrixMultiplyAccumulate(", "multiply(lane, ")
		.replace(/: subgroup_matrix_result<f32, 16, 16>/g, () => ` = zeros(lane, ${count++}u)`)
		.replaceAll("subgroupShuffleXor(", "shuffle_xor(thread, ")
		.replaceAll("subgroupMax(", "subgroup_max(thread, ")
		.replace(/, @builtin\(subgroup_id\) subgroup: u32, @builtin\(subgroup_invocation_id\) lane: u32/, "")
		.replace(
			/(fn main\([^{]*\{)/,
			`$1 let subgroup = thread / 32u; let lane = thread % 32u; side = select(16u, 0u, ${never});`,
		);
	const unknown = body.match(MATRIX);
	if (unknown) throw new Error(`matrices of a syntax that is not known: ${unknown}`);
	return /* wgsl */ `
var<private> side: u32;
var<private> matrices: array<f32, ${256 * count}>;
fn zeros(lane: u32, own: u32) -> u32 {
	if (lane == 0u) { for (var i = 0u; i < 16u * side; i++) { matrices[256u * own + i] = 0.0; } }
	return own;
}
fn multiply(lane: u32, a: u32, b: u32, sum: u32) -> u32 {
	if (lane != 0u) { return sum; }
	for (var i = 0u; i < side; i++) {
		for (var j = 0u; j < side; j++) {
			var total = matrices[256u * sum + 16u * i + j];
			for (var k = 0u; k < side; k++) { total += matrices[256u * a + 16u * i + k] * matrices[256u * b + 16u * k + j]; }
			matrices[256u * sum + 16u * i + j] = total;
		}
	}
	return sum;
}
var<workgroup> exchanged: array<f32, 128>;
fn shuffle_xor(thread: u32, value: f32, mask: u32) -> f32 {
	exchanged[thread] = value;
	workgroupBarrier();
	let other = exchanged[thread ^ mask];
	workgroupBarrier();
	return other;
}
fn subgroup_max(thread: u32, value: f32) -> f32 {
	exchanged[thread] = value;
	workgroupBarrier();
	var most = value;
	for (var i = 0u; i < 2u * side; i++) { most = max(most, exchanged[thread / 32u * 32u + i]); }
	workgroupBarrier();
	return most;
}
${[...shared].map(sharedArray).join("")}
${body}`;
}

/** Offsets and strides are in elements of the array, vectors of sixteen bytes. */
const sharedArray = (name: string) => /* wgsl */ `
fn load_${name}(lane: u32, own: u32, rows: bool, at: u32, stride: u32) -> u32 {
	if (lane != 0u) { return own; }
	for (var line = 0u; line < side; line++) {
		for (var i = 0u; i < side; i++) {
			let pair = unpack2x16float(${name}[at + line * stride + i / 8u][i % 8u / 2u]);
			matrices[256u * own + select(16u * i + line, 16u * line + i, rows)] = pair[i % 2u];
		}
	}
	return own;
}
fn store_${name}(lane: u32, at: u32, own: u32, stride: u32) {
	if (lane != 0u) { return; }
	for (var line = 0u; line < side; line++) {
		for (var i = 0u; i < 4u; i++) {
			let from_ = 256u * own + 16u * line + 4u * i;
			${name}[at + line * stride + i] = bitcast<vec4u>(vec4f(matrices[from_], matrices[from_ + 1u], matrices[from_ + 2u], matrices[from_ + 3u]));
		}
	}
}
`;
