/** Squared errors and penalties → loss, gradient scales and the figures that the host reads; and the norm for clipping. */
import { ROW_SUMS } from "./activate.ts";
import { declareNames } from "./formula.ts";
import { IS_FINITE, literal, MAX_BLOCKS, MAX_TERMS, packed, STEP_PARAMS, workgroupSum } from "./wgsl.ts";

/** Elements of the control buffer (f32), which later kernels of the step read. */
export const CONTROL = {
	clip: 0,
	/** Not 0 once nothing may be updated any more: 1 for a loss that is not finite, 2 for codes that found no room. */
	stopped: 1,
	stoppedAt: 2,
	/** What the L0 controller multiplies the sparsity's weight by, and the l0 it sees. */
	multiplier: 3,
	l0: 4,
	/** By block: what errors are multiplied by to become gradients. */
	scale: 5,
	/** By term: what derivatives of the penalty are multiplied by. */
	penalty: 5 + MAX_BLOCKS,
	length: 5 + MAX_BLOCKS + MAX_TERMS,
} as const;

/** Elements of the report buffer (f32), which the host reads. */
export const REPORT = {
	loss: 0,
	squaredError: 1,
	/** Codes of the first term that are not 0. */
	kept: 2,
	dead: 3,
	variance: 4,
	gradientNorm: 5,
	stopped: 6,
	stoppedAt: 7,
	/** Entries that the codes would take. */
	needed: 8,
	multiplier: 9,
	terms: 10,
	penalties: 10 + MAX_TERMS,
	length: 10 + 2 * MAX_TERMS,
} as const;

/** How fast the L0 controller moves: its largest relative change per step, and how much of each l0 it takes in. */
const CONTROL_GAIN = 0.01;
const CONTROL_MEMORY = 0.1;

export interface TermShape {
	readonly weight: number;
	readonly reduction: "sum" | "variance";
	readonly deadOnly: boolean;
	readonly firstBlock: number;
	/** By part; one for a term that is not nested. */
	readonly weights: readonly number[];
	/** Whether {@link ROW_SUMS} of its code rows are at hand; otherwise every entry is a code that is not 0. */
	readonly activated: boolean;
	readonly penalty?: {
		/** Which of the step's scalars weighs it, and whether the L0 controller has a say. */
		readonly scalar: number;
		readonly controlled: boolean;
		/** Formulas of s and h; the penalty itself unless given. */
		readonly batch?: { readonly value: string; readonly slope: string; readonly beside: boolean };
	};
}

export interface LossShape {
	readonly terms: readonly TermShape[];
	readonly rows: number;
	/** Rows weigh in by their loss (tilted empirical risk). */
	readonly tilted: boolean;
	/**
	 * Where codes may be of any number: the elements of the carry that say how many entries are needed, one for each
	 * micro-batch. There has to be room for the largest.
	 */
	readonly needs?: { readonly first: number; readonly count: number } | undefined;
	/** End of the room for entries. */
	readonly limit: number;
	/** Names of the step's scalars, for formulas. */
	readonly scalars: readonly string[];
	/** Weight of the pre-activation loss of dead latents; 0: there is none. */
	readonly revival: number;
}

/** Names of the bindings of {@link lossAndScales} after the fixed ones. */
export function lossBindings({
	terms,
	tilted,
	needs,
	revival,
}: LossShape): ("deviation" | "sums" | "carry" | "rowWeight" | "revivalLoss")[] {
	return [
		...(terms.some((term) => term.reduction === "variance") ? (["deviation"] as const) : []),
		...(terms.some((term) => term.activated) ? (["sums"] as const) : []),
		...(needs ? (["carry"] as const) : []),
		...(tilted ? (["rowWeight"] as const) : []),
		...(revival > 0 ? (["revivalLoss"] as const) : []),
	];
}

/**
 * Bindings: step uniform, squared [code rows], span, list (dead count first), control, report, then
 * {@link lossBindings}. One workgroup.
 *
 * A `sum` term is weight · Σ squared / rows; a `variance` term is weight · Σ squared / Σ deviation. The scale of a block
 * is the derivative of the loss by its squared error, doubled. With a tilt t, the rows' losses l of `sum` terms and
 * penalties count as ln(mean(exp(t · l))) / t, and row weights are what each row's gradient is multiplied by.
 * The report's variance is left at 0, as not measured; {@link REPORT_VARIANCE} sets it.
 * A loss that is not finite sets `stopped`, after which no update changes a parameter.
 */
export function lossAndScales(shape: LossShape): string {
	const { terms, rows, tilted, needs, limit, scalars, revival } = shape;
	const sum = (text: string) =>
		`mine = 0.0; for (var i = thread; i < step.rows; i += 256u) { mine += ${text}; } total = workgroup_sum(thread, mine);`;
	const rowError = ({ weights, firstBlock }: TermShape) =>
		weights
			.map((weight, j) => ({ weight: weight / weights.at(-1)!, at: (firstBlock + j) * rows }))
			.map(({ weight, at }) => `${weight === 1 ? "" : `${literal(weight)} * `}squared[${at}u + i]`)
			.join(" + ");
	const rowSum = ({ weights, firstBlock }: TermShape, which: number) =>
		weights.map((_, j) => `sums[(${(firstBlock + j) * rows}u + i) * ${ROW_SUMS}u + ${which}u]`).join(" + ");
	const penaltyWeight = ({ scalar, controlled }: NonNullable<TermShape["penalty"]>) =>
		`${packed("step.scalars", scalar)}${controlled ? " * multiplier" : ""}`;
	const kept = ({ weights, firstBlock, activated }: TermShape) =>
		activated
			? rowSum({ weights, firstBlock } as TermShape, 0)
			: weights
					.map(
						(_, j) =>
							`f32(span[${(firstBlock + j) * rows}u + i].y - span[${(firstBlock + j) * rows}u + i].x)`,
					)
					.join(" + ");

	const term = (shape: TermShape, t: number) => {
		const { weights, firstBlock, penalty } = shape;
		const weight = shape.weight * weights.at(-1)!;
		const blocks = weights.map((_, j) => firstBlock + j);
		const share = (divisor: string) => `
		let value = select(0.0, ${literal(weight)} * error / ${divisor}, ${divisor} > 0.0);
		${tilted && shape.reduction === "sum" ? "" : "loss += value;"}
		if (thread == 0u) {
			report[${REPORT.terms + t}] = value;
			${blocks
				.map(
					(block) =>
						`control[${CONTROL.scale + block}] = select(0.0, ${literal(2 * weight)} / ${divisor}, ${divisor} > 0.0);`,
				)
				.join("\n\t\t\t")}
		}`;
		const body = `
		${sum(rowError(shape))}
		let error = total;
		${shape.reduction === "sum" ? share("f32(step.rows)") : `${sum("deviation[i]")} let spread = total; ${share("spread")}`}`;
		const penalised = penalty
			? `{
		${sum(rowSum(shape, 1))}
		let s = total / f32(step.rows);
		${penalty.batch?.beside ? `${sum(rowSum(shape, 2))} let h = total / f32(step.rows);` : ""}
		${declareNames({ vectors: [], scalars }, [penalty.batch?.value, penalty.batch?.slope], "0u")}
		let value = ${penaltyWeight(penalty)} * (${penalty.batch?.value ?? "s"});
		${tilted ? "" : "loss += value;"}
		if (thread == 0u) {
			report[${REPORT.penalties + t}] = value;
			control[${CONTROL.penalty + t}] = ${penaltyWeight(penalty)} * (${penalty.batch?.slope ?? "1.0"}) / f32(step.rows);
		}
	}`
			: "";
		const zero = blocks.map((block) => `control[${CONTROL.scale + block}] = 0.0;`).join(" ");
		return `${
			shape.deadOnly
				? `if (dead > 0u) { ${body} } else if (thread == 0u) { report[${REPORT.terms + t}] = 0.0; ${zero} }`
				: `{ ${body} }`
		}
	${penalised}`;
	};
	const rowLoss = terms
		.filter((term) => term.reduction === "sum")
		.flatMap((term) => [
			`${literal(term.weight * term.weights.at(-1)!)} * (${rowError(term)})`,
			...(term.penalty ? [`${penaltyWeight(term.penalty)} * (${rowSum(term, 1)})`] : []),
		])
		.join(" + ");
	const first = terms[0]!;
	const lastBlock = first.firstBlock + first.weights.length - 1;
	const extra = {
		deviation: "<storage, read> deviation",
		sums: "<storage, read> sums",
		carry: "<storage, read> carry",
		rowWeight: "<storage, read_write> row_weight",
		revivalLoss: "<storage, read> revival_loss",
	};
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
${lossBindings(shape)
	.map(
		(name, i) =>
			`@group(0) @binding(${6 + i}) var${extra[name]}: array<${name === "carry" ? "u32" : "f32"}>;`,
	)
	.join("\n")}

@compute @workgroup_size(256)
fn main(@builtin(local_invocation_index) thread: u32) {
	var mine = 0.0;
	var total = 0.0;
	var loss = 0.0;
	let dead = list[0];
	_ = span[0]; // not read where row sums are at hand
	let multiplier = control[${CONTROL.multiplier}];
	${terms.map(term).join("\n\t")}
	${tilted ? tilt(rowLoss) : ""}
	${revival > 0 ? `${sum("revival_loss[i]")} loss += ${literal(revival)} * total / f32(step.rows);` : ""}
	${sum(`squared[${lastBlock * rows}u + i]`)}
	let squared_error = total;
	${sum(kept(first))}
	if (thread == 0u) {
		report[${REPORT.loss}] = loss;
		report[${REPORT.squaredError}] = squared_error;
		report[${REPORT.kept}] = total;
		report[${REPORT.variance}] = 0.0;
		report[${REPORT.needed}] = 0.0;
		${
			needs
				? `var needed = 0u;
		for (var i = 0u; i < ${needs.count}u; i++) { needed = max(needed, carry[${needs.first}u + i]); }
		report[${REPORT.needed}] = f32(needed);
		if (needed > ${limit}u) { stop(2.0); }`
				: ""
		}
		if (!is_finite(loss)) { stop(1.0); }
		report[${REPORT.stopped}] = control[${CONTROL.stopped}];
		report[${REPORT.stoppedAt}] = control[${CONTROL.stoppedAt}];
		control[${CONTROL.clip}] = 1.0;
		if (step.target_l0 > 0.0 && step.update > 0u && control[${CONTROL.stopped}] == 0.0) {
			let now = total / f32(step.rows);
			let before = control[${CONTROL.l0}];
			let smooth_l0 = select(before + ${CONTROL_MEMORY} * (now - before), now, before == 0.0);
			control[${CONTROL.l0}] = max(smooth_l0, 1e-6);
			control[${CONTROL.multiplier}] = multiplier * exp(${CONTROL_GAIN} * clamp(log(max(smooth_l0, 1e-6) / step.target_l0), -1.0, 1.0));
		}
		report[${REPORT.multiplier}] = control[${CONTROL.multiplier}];
	}
}

// The first reason counts. A step that only looks stops nothing.
fn stop(why: f32) {
	if (step.update == 0u || control[${CONTROL.stopped}] != 0.0) { return; }
	control[${CONTROL.stopped}] = why;
	control[${CONTROL.stoppedAt}] = f32(step.update);
}
`;
}

/** Row weights from row losses, relative to 1 / rows; the largest exponent is taken out first. */
function tilt(rowLoss: string): string {
	return `
	{
		mine = -3.0e38;
		for (var i = thread; i < step.rows; i += 256u) { mine = max(mine, step.tilt * (${rowLoss})); }
		sum_scratch[thread] = mine;
		workgroupBarrier();
		for (var half = 128u; half > 0u; half >>= 1u) {
			if (thread < half) { sum_scratch[thread] = max(sum_scratch[thread], sum_scratch[thread + half]); }
			workgroupBarrier();
		}
		let largest = sum_scratch[0];
		workgroupBarrier();
		mine = 0.0;
		for (var i = thread; i < step.rows; i += 256u) { mine += exp(step.tilt * (${rowLoss}) - largest); }
		total = workgroup_sum(thread, mine);
		for (var i = thread; i < step.rows; i += 256u) {
			row_weight[i] = exp(step.tilt * (${rowLoss}) - largest) * f32(step.rows) / total;
		}
		loss += (largest + log(total / f32(step.rows))) / step.tilt;
	}`;
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
 * Bindings: step uniform, norms [parts] (squared norms of gradient rows), gradient of the latents' vectors, b_dec gradient
 * [width], control, report, uniform { parts, numbers of the vectors, width }. One workgroup.
 * clip = min(1, step.clip / (‖gradient‖ + 1e-6)), over all parameters.
 */
export const CLIP_FACTOR = /* wgsl */ `
${STEP_PARAMS}
${workgroupSum(256)}
@group(0) @binding(0) var<uniform> step: Step;
@group(0) @binding(1) var<storage, read> norms: array<f32>;
@group(0) @binding(2) var<storage, read> vectors: array<f32>;
@group(0) @binding(3) var<storage, read> b_dec_gradient: array<f32>;
@group(0) @binding(4) var<storage, read_write> control: array<f32>;
@group(0) @binding(5) var<storage, read_write> report: array<f32>;
@group(0) @binding(6) var<uniform> size: vec4u;

@compute @workgroup_size(256)
fn main(@builtin(local_invocation_index) thread: u32) {
	var mine = 0.0;
	for (var i = thread; i < size.x; i += 256u) { mine += norms[i]; }
	for (var i = thread; i < size.y; i += 256u) { mine += vectors[i] * vectors[i]; }
	for (var i = thread; i < size.z; i += 256u) { mine += b_dec_gradient[i] * b_dec_gradient[i]; }
	let norm = sqrt(workgroup_sum(thread, mine));
	if (thread == 0u) {
		control[${CONTROL.clip}] = min(1.0, step.clip / (norm + 1e-6));
		report[${REPORT.gradientNorm}] = norm;
	}
}
`;
