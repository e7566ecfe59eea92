/** Elementwise work on rows: activations, gates, sums. */
import { GROUP_INDEX, literal } from "../wgsl.ts";

const THREADS = 64;

export type Activation = "gelu" | "gelu_tanh" | "gelu_quick" | "silu" | "relu";

/** WGSL that computes a vec4f from a vec4f. Exponents are kept from overflowing. */
const ACTIVATIONS: Record<Activation, string> = {
	// Φ by Abramowitz and Stegun's 7.1.26, whose error is at most 1.5e-7.
	gelu: /* wgsl */ `
	let z = abs(x) * 0.7071067811865476;
	let t = 1.0 / (1.0 + 0.3275911 * z);
	let poly = ((((1.061405429 * t - 1.453152027) * t + 1.421413741) * t - 0.284496736) * t + 0.254829592) * t;
	let erf = sign(x) * (1.0 - poly * exp(-z * z));
	return 0.5 * x * (1.0 + erf);`,
	// 0.5 (1 + tanh u) is the logistic function of 2u.
	gelu_tanh: "return x * logistic(1.5957691216057308 * (x + 0.044715 * x * x * x));",
	gelu_quick: "return x * logistic(1.702 * x);",
	silu: "return x * logistic(x);",
	relu: "return max(x, vec4f());",
};

/** WGSL of `activation`, of vectors of four. */
export function activationFunction(activation: Activation): string {
	return /* wgsl */ `
fn logistic(x: vec4f) -> vec4f { return 1.0 / (1.0 + exp(min(-x, vec4f(80.0)))); }
fn activation(x: vec4f) -> vec4f { ${ACTIVATIONS[activation]} }
`;
}

/** What happens to x, which is replaced. `o` is a row that all rows share, or an array of x's shape. */
export type RowMap =
	/** x · o, o a row */
	| { readonly kind: "scale" }
	/** x + o */
	| { readonly kind: "add" }
	/** activation(x) */
	| { readonly kind: "activate"; readonly activation: Activation }
	/** activation(x) · o */
	| { readonly kind: "gate"; readonly activation: Activation }
	/** cap · tanh(x / cap) */
	| { readonly kind: "softcap"; readonly cap: number };

/** Bindings: uniform { stride / 4 }, x [rows, stride], and o unless the map has none. A thread per four numbers. */
export function mapRows(map: RowMap): string {
	const { value, functions = "" } = formula(map);
	const other = {
		scale: "o[i % size.x]",
		add: "o[i]",
		gate: "o[i]",
		activate: undefined,
		softcap: undefined,
	}[map.kind];
	return /* wgsl */ `
${GROUP_INDEX}
@group(0) @binding(0) var<uniform> size: vec4u;
@group(0) @binding(1) var<storage, read_write> x: array<vec4f>;
${other ? "@group(0) @binding(2) var<storage, read> o: array<vec4f>;" : ""}
${functions}
@compute @workgroup_size(${THREADS})
fn main(@builtin(workgroup_id) group: vec3u, @builtin(num_workgroups) groups: vec3u, @builtin(local_invocation_index) thread: u32) {
	let i = group_index(group, groups) * ${THREADS}u + thread;
	if (i >= arrayLength(&x)) { return; }
	_ = size.x; // read only where all rows share o
	let value = x[i];
	${other ? `let other = ${other};` : ""}
	x[i] = ${value};
}
`;
}

function formula(map: RowMap): { value: string; functions?: string } {
	switch (map.kind) {
		case "add":
			return { value: "value + other" };
		case "scale":
			return { value: "value * other" };
		case "activate":
			return { value: "activation(value)", functions: activationFunction(map.activation) };
		case "gate":
			return { value: "activation(value) * other", functions: activationFunction(map.activation) };
		case "softcap": {
			const cap = literal(map.cap);
			return { value: `${cap} * tanh(value / ${cap})` };
		}
	}
}

export function mapGroups(rows: number, stride: number): number {
	return Math.ceil((rows * stride) / 4 / THREADS);
}
