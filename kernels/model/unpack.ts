/** Weights of 16 bits, which stay as their file has them until a product needs them as float32. */
import { GROUP_INDEX } from "../wgsl.ts";

/** How weights lie on the device: two 16-bit numbers share a word, the first in its lower half. */
export type WeightFormat = "f32" | "f16" | "bf16";

const THREADS = 64;

/** A vec4f of what a table of this format holds at one place: a vec4f, or a vec2u of 16-bit numbers. */
export function readFour(format: WeightFormat, value: string): string {
	if (format === "f32") return value;
	return `vec4f(${readTwo(format, `${value}.x`)}, ${readTwo(format, `${value}.y`)})`;
}

function readTwo(format: "f16" | "bf16", word: string): string {
	return format === "f16"
		? `unpack2x16float(${word})`
		: `bitcast<f32>(${word} << 16u), bitcast<f32>(${word} & 0xffff0000u)`;
}

/** Bindings: uniform { numbers / 4 }, in (16-bit numbers), out. Every value of either format is a float32. */
export function unpackWeights(format: "f16" | "bf16"): string {
	return /* wgsl */ `
${GROUP_INDEX}
@group(0) @binding(0) var<uniform> size: vec4u;
@group(0) @binding(1) var<storage, read> halves: array<vec2u>;
@group(0) @binding(2) var<storage, read_write> out: array<vec4f>;

@compute @workgroup_size(${THREADS})
fn main(@builtin(workgroup_id) group: vec3u, @builtin(num_workgroups) groups: vec3u, @builtin(local_invocation_index) thread: u32) {
	let i = group_index(group, groups) * ${THREADS}u + thread;
	if (i >= size.x) { return; }
	let value = halves[i];
	out[i] = ${readFour(format, "value")};
}
`;
}

export function unpackGroups(numbers: number): number {
	return Math.ceil(numbers / 4 / THREADS);
}
