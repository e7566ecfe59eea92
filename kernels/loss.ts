/** Squared errors → loss, gradient scales and the figures that the host reads; and the norm for clipping. */
import { IS_FINITE, STEP_PARAMS, workgroupSum } from "./wgsl.ts";

/** Loss terms that one step can hold: the step's uniform has room for four k. */
export const MAX_TERMS = 4;

/** Elements of the control buffer (f32), which later kernels of the step read. */
export const CONTROL = { clip: 0, stopped: 1, scale: 2, length: 2 + MAX_TERMS } as const;

/** Elements of the report buffer (f32), which the host reads. */
export const REPORT = {
	loss: 0,
	squaredError: 1,
	/** Codes that the first term kept. */
	kept: 2,
	dead: 3,
	variance: 4,
	gradientNorm: 5,
	stopped: 6,
	terms: 8,
	length: 8 + MAX_TERMS,
} as const;

export interface TermShape {
	readonly weight: number;
	readonly reduction: "sum" | "variance";
	readonly deadOnly: boolean;
}

/**
 * Bindings: step uniform, squared [terms · rows], span, list (dead count first), control, report, and with a `variance`
 * term deviation [rows] (of the residual). One workgroup.
 *
 * A `sum` term is weight · Σ squared / rows; a `variance` term is weight · Σ squared / Σ deviation. The scale of a term
 * is the derivative of the loss by its squared error, doubled: what errors are multiplied by to become gradients.
 * The report's variance is left at 0, as not measured; {@link REPORT_VARIANCE} sets it.
 * A loss that is not finite sets `stopped`, after which no update changes a parameter.
 */
export function lossAndScales(terms: readonly TermShape[], rows: number): string {
	const sum = (text: string) =>
		`mine = 0.0; for (var i = thread; i < step.rows; i += 256u) { mine += ${text}; } total = workgroup_sum(thread, mine);`;
	return /* wgsl */ `
${STEP_PARAMS}
${IS_FINITE}
${workgroupSum(256)}
@group(0) @binding(0) var<uniform> step: Step;
@group(0) @binding(1) var<storage, read> squared: array<f32>;
@group(0) @binding(2) var<storage, read> span: array<vec2u>;
@group(0) @binding(3) var<storage, read> list: array<u32>;
@group(0) @binding(4) var<storage, read_write> control: array<f32>;
@group(0) @binding(5) var<storage, read_write> report: array<f32>;
${terms.some((term) => term.reduction === "variance") ? "@group(0) @binding(6) var<storage, read> deviation: array<f32>;" : ""}

@compute @workgroup_size(256)
fn main(@builtin(local_invocation_index) thread: u32) {
	var mine = 0.0;
	var total = 0.0;
	var loss = 0.0;
	let dead = list[0];
	${terms
		.map((term, t) => {
			const share = (divisor: string) => `
		let value = select(0.0, ${literal(term.weight)} * error / ${divisor}, ${divisor} > 0.0);
		loss += value;
		if (thread == 0u) {
			report[${REPORT.terms + t}] = value;
			control[${CONTROL.scale + t}] = select(0.0, ${literal(2 * term.weight)} / ${divisor}, ${divisor} > 0.0);
		}`;
			const body = `
		${sum(`squared[${t * rows}u + i]`)}
		let error = total;
		${t === 0 ? `if (thread == 0u) { report[${REPORT.squaredError}] = error; }` : ""}
		${term.reduction === "sum" ? share("f32(step.rows)") : `${sum("deviation[i]")} let spread = total; ${share("spread")}`}`;
			return term.deadOnly
				? `if (dead > 0u) { ${body} } else if (thread == 0u) { report[${REPORT.terms + t}] = 0.0; control[${CONTROL.scale + t}] = 0.0; }`
				: `{ ${body} }`;
		})
		.join("\n")}
	${sum("f32(span[i].y - span[i].x)")}
	if (thread == 0u) {
		report[${REPORT.loss}] = loss;
		report[${REPORT.kept}] = total;
		report[${REPORT.variance}] = 0.0;
		if (!is_finite(loss)) { control[${CONTROL.stopped}] = 1.0; }
		report[${REPORT.stopped}] = control[${CONTROL.stopped}];
		control[${CONTROL.clip}] = 1.0;
	}
}
`;
}

/** Bindings: step uniform, values [rows], report. Sums the rows' deviations into the report: the batch's variance. */
export const REPORT_VARIANCE = /* wgsl */ `
${STEP_PARAMS}
${workgroupSum(256)}
@group(0) @binding(0) var<uniform> step: Step;
@group(0) @binding(1) var<storage, read> deviation: array<f32>;
@group(0) @binding(2) var<storage, read_write> report: array<f32>;

@compute @workgroup_size(256)
fn main(@builtin(local_invocation_index) thread: u32) {
	var mine = 0.0;
	for (var i = thread; i < step.rows; i += 256u) { mine += deviation[i]; }
	let total = workgroup_sum(thread, mine);
	if (thread == 0u) { report[${REPORT.variance}] = total; }
}
`;

/**
 * Bindings: step uniform, norms [parts] (squared norms of gradient rows), b_enc gradient [latents], b_dec gradient
 * [width], control, report, uniform { parts, latents, width }. One workgroup.
 * clip = min(1, step.clip / (‖gradient‖ + 1e-6)), over all parameters.
 */
export const CLIP_FACTOR = /* wgsl */ `
${STEP_PARAMS}
${workgroupSum(256)}
@group(0) @binding(0) var<uniform> step: Step;
@group(0) @binding(1) var<storage, read> norms: array<f32>;
@group(0) @binding(2) var<storage, read> b_enc_gradient: array<f32>;
@group(0) @binding(3) var<storage, read> b_dec_gradient: array<f32>;
@group(0) @binding(4) var<storage, read_write> control: array<f32>;
@group(0) @binding(5) var<storage, read_write> report: array<f32>;
@group(0) @binding(6) var<uniform> size: vec4u;

@compute @workgroup_size(256)
fn main(@builtin(local_invocation_index) thread: u32) {
	var mine = 0.0;
	for (var i = thread; i < size.x; i += 256u) { mine += norms[i]; }
	for (var i = thread; i < size.y; i += 256u) { mine += b_enc_gradient[i] * b_enc_gradient[i]; }
	for (var i = thread; i < size.z; i += 256u) { mine += b_dec_gradient[i] * b_dec_gradient[i]; }
	let norm = sqrt(workgroup_sum(thread, mine));
	if (thread == 0u) {
		control[${CONTROL.clip}] = min(1.0, step.clip / (norm + 1e-6));
		report[${REPORT.gradientNorm}] = norm;
	}
}
`;

/** A WGSL float literal. */
function literal(value: number): string {
	const text = String(value);
	return /[.e]/.test(text) ? text : `${text}.0`;
}
