/** What every code adds to gradients, where that takes more than a scale: formulas, penalties, weights of rows. */
import { declareNames, type Names } from "./formula.ts";
import { CONTROL } from "./loss.ts";
import { GROUP_INDEX, literal, STEP_PARAMS } from "./wgsl.ts";

export interface WeighTerm {
	readonly number: number;
	/** Its blocks of code rows: from `firstBlock` up to `endBlock`. */
	readonly firstBlock: number;
	readonly endBlock: number;
	readonly trainsDecoder: boolean;
	/** Whether rows weigh in by their loss, where there is a tilt. */
	readonly tilted: boolean;
	readonly dz: string;
	readonly d: Readonly<Record<string, string>>;
	readonly penalty?: {
		readonly df?: string | undefined;
		readonly dz?: string | undefined;
		readonly dnorm?: string | undefined;
		readonly d: Readonly<Record<string, string>>;
	};
	/** Codes of dead latents over this threshold take back what the pre-activation loss gives to every row. */
	readonly revival?: {
		readonly weight: number;
		readonly threshold: string;
		readonly dthreshold: Readonly<Record<string, string>>;
	};
}

export interface WeighShape {
	readonly threads: number;
	readonly rows: number;
	readonly names: Names;
	readonly terms: readonly WeighTerm[];
	/** Vectors whose gradients get shares, in order; `norm` for the decoder's norm. */
	readonly shares: readonly string[];
	readonly tilted: boolean;
}

/**
 * Bindings: step uniform, uniform { code rows, stride of vectors }, index, span, z, value, slope, control, vectors,
 * weighed [entries, 2 + shares], with a tilt row weights [rows]. One workgroup per code row.
 */
export function weighCodes(shape: WeighShape): string {
	const { threads, rows, names, terms, shares, tilted } = shape;
	const stride = 2 + shares.length;
	const term = (t: WeighTerm) => {
		const { penalty, revival } = t;
		const formulas = [
			t.dz,
			...Object.values(t.d),
			penalty?.df,
			penalty?.dz,
			penalty?.dnorm,
			...Object.values(penalty?.d ?? {}),
			...(revival ? [revival.threshold, "norm", "dead", ...Object.values(revival.dthreshold)] : []),
		];
		const add = (formula: string | undefined, factor: string) =>
			formula === undefined ? "" : ` + ${factor} * (${formula})`;
		return `if (block < ${t.endBlock}u) {
			${declareNames(names, formulas, "part.stride")}
			let factor = ${t.tilted ? "row_factor" : "1.0"};
			let scale = block_scale * factor;
			let weight = control[${CONTROL.penalty + t.number}] * factor;
			let df = slope[e] * scale${add(penalty?.df, "weight")};
			var dz = df * (${t.dz})${add(penalty?.dz, "weight")};
			${shares
				.map(
					(name, i) =>
						`var share${i} = 0.0${add(t.d[name], "df")}${add(penalty?.d[name], "weight")}${name === "norm" ? add(penalty?.dnorm, "weight") : ""};`,
				)
				.join("\n\t\t\t")}
			${
				revival
					? `if (dead != 0.0 && z > (${revival.threshold})) {
				let back = ${literal(revival.weight)} * norm / f32(step.rows);
				dz += back;
				${shares.map((name, i) => (revival.dthreshold[name] ? `share${i} -= back * (${revival.dthreshold[name]});` : "")).join("\n\t\t\t\t")}
			}`
					: ""
			}
			weighed[e * ${stride}u] = ${t.trainsDecoder ? "f * scale" : "0.0"};
			weighed[e * ${stride}u + 1u] = dz;
			${shares.map((_, i) => `weighed[e * ${stride}u + ${2 + i}u] = share${i};`).join("\n\t\t\t")}
		}`;
	};
	return /* wgsl */ `
${STEP_PARAMS}
${GROUP_INDEX}
struct Part { rows: u32, stride: u32, unused0: u32, unused1: u32 }
@group(0) @binding(0) var<uniform> step: Step;
@group(0) @binding(1) var<uniform> part: Part;
@group(0) @binding(2) var<storage, read> index: array<u32>;
@group(0) @binding(3) var<storage, read> span: array<vec2u>;
@group(0) @binding(4) var<storage, read> pre: array<f32>;
@group(0) @binding(5) var<storage, read> value: array<f32>;
@group(0) @binding(6) var<storage, read> slope: array<f32>;
@group(0) @binding(7) var<storage, read> control: array<f32>;
@group(0) @binding(8) var<storage, read> vectors: array<f32>;
@group(0) @binding(9) var<storage, read_write> weighed: array<f32>;
${tilted ? "@group(0) @binding(10) var<storage, read> row_weight: array<f32>;" : ""}

@compute @workgroup_size(${threads})
fn main(@builtin(workgroup_id) group: vec3u, @builtin(num_workgroups) groups: vec3u, @builtin(local_invocation_index) thread: u32) {
	let v = group_index(group, groups);
	if (v >= part.rows) { return; }
	let block = v / ${rows}u;
	let entries = span[v];
	let row_factor = ${tilted ? `row_weight[v % ${rows}u]` : "1.0"};
	let block_scale = control[${CONTROL.scale}u + block];
	_ = vectors[0];
	_ = step.rows;
	for (var e = entries.x + thread; e < entries.y; e += ${threads}u) {
		let latent = index[e];
		let z = pre[e];
		let f = value[e];
		${terms.map(term).join(" else ")}
	}
}
`;
}
