/**
 * One training step by its definition, in float64 on the CPU: the oracle for the compiled one. The forward pass
 * can be run with a selection, a residual and a spread that are given, which makes the loss the differentiable
 * function whose gradient a step follows.
 */
import type { LossTerm, Schedule, TrainingSpec } from "../../core/architecture.ts";
import type { StepSettings } from "../../core/train/step.ts";

export const PARAMETERS = ["W_enc", "W_dec", "b_enc", "b_dec"] as const;

/** `W_enc` and `W_dec` [d_sae, d_in], `b_enc` [d_sae], `b_dec` [d_in]. */
export type Parameters = Record<(typeof PARAMETERS)[number], Float64Array>;

export interface State {
	readonly parameters: Parameters;
	/** Adam's running means of the gradient and of its square. */
	readonly mean: Parameters;
	readonly square: Parameters;
	/** Tokens since each latent last fired [d_sae]. */
	readonly since: Uint32Array;
	/** Latents that count as dead, ascending. */
	dead: readonly number[];
}

export function newState(parameters: Parameters): State {
	const zeros = () =>
		Object.fromEntries(PARAMETERS.map((name) => [name, parameters[name].map(() => 0)])) as Parameters;
	const since = new Uint32Array(parameters.b_enc.length);
	return { parameters, mean: zeros(), square: zeros(), since, dead: [] };
}

/** Latents kept, ascending, by term and row. */
export type Selection = readonly (readonly (readonly number[])[])[];

/** What a term compares with, where it is the first term's residual, and Σ ‖target − mean‖²; no gradient flows here. */
export interface Detached {
	readonly residual: Float64Array;
	readonly spread: number;
}

interface TermPass {
	/** weight · squared / divisor. */
	readonly loss: number;
	readonly squared: number;
	/** What errors are multiplied by to become gradients. */
	readonly scale: number;
	/** Reconstruction − target [rows, d_in]. */
	readonly errors: Float64Array;
}

export interface Pass {
	readonly loss: number;
	readonly terms: readonly TermPass[];
	readonly detached: Detached;
}

/** x − b_dec, or x itself [rows, d_in]. */
function encoderInput(spec: TrainingSpec, { b_dec }: Parameters, x: Float64Array): Float64Array {
	return spec.apply_b_dec_to_input ? x.map((value, i) => value - b_dec[i % b_dec.length]!) : x;
}

function dot(a: Float64Array, aRow: number, b: Float64Array, bRow: number, width: number): number {
	let sum = 0;
	for (let i = 0; i < width; i++) sum += a[aRow * width + i]! * b[bRow * width + i]!;
	return sum;
}

/** dest[row] += scale · source[sourceRow] */
function addRow(
	dest: Float64Array,
	row: number,
	scale: number,
	source: Float64Array,
	sourceRow: number,
	width: number,
): void {
	for (let i = 0; i < width; i++) dest[row * width + i]! += scale * source[sourceRow * width + i]!;
}

export function scheduledK(schedule: Schedule, progress: number): number {
	if (typeof schedule === "number") return schedule;
	const { from, to, until } = schedule;
	return Math.round(progress >= until ? to : from + ((to - from) * progress) / until);
}

/** Each term's positive top k of each row of `x` [rows, d_in], ties to the lowest index. */
export function select(
	spec: TrainingSpec,
	{ parameters, dead }: Pick<State, "parameters" | "dead">,
	x: Float64Array,
	progress: number,
): Selection {
	const { W_enc, b_enc, b_dec } = parameters;
	const width = b_dec.length;
	const input = encoderInput(spec, parameters, x);
	const rows = Array.from({ length: x.length / width }, (_, row) =>
		b_enc.map((bias, latent) => bias + dot(input, row, W_enc, latent, width)),
	);
	const everyLatent = Array.from(b_enc.keys());
	return spec.loss.map(({ latents, select: { k } }) =>
		rows.map((pre) =>
			(latents === "dead" ? dead : everyLatent)
				.filter((latent) => pre[latent]! > 0)
				.sort((a, b) => pre[b]! - pre[a]! || a - b)
				.slice(0, scheduledK(k, progress))
				.sort((a, b) => a - b),
		),
	);
}

/** Σ ‖row − mean‖². */
export function spreadOf(data: Float64Array, width: number): number {
	const mean = new Float64Array(width);
	for (const [i, value] of data.entries()) mean[i % width]! += (value * width) / data.length;
	return data.reduce((sum, value, i) => sum + (value - mean[i % width]!) ** 2, 0);
}

/** `dead` latents, if there are none, leave their term nothing to say. */
export function forward(
	spec: TrainingSpec,
	{ parameters, dead }: Pick<State, "parameters" | "dead">,
	x: Float64Array,
	selection: Selection,
	detached?: Detached,
): Pass {
	const { W_enc, W_dec, b_enc, b_dec } = parameters;
	const width = b_dec.length;
	const rows = x.length / width;
	const input = encoderInput(spec, parameters, x);
	const errorsOf = (term: LossTerm, kept: Selection[number], target: Float64Array) => {
		const errors = target.map((value, i) => (term.bias ? b_dec[i % width]! : 0) - value);
		for (const [row, latents] of kept.entries()) {
			for (const latent of latents) {
				const value = b_enc[latent]! + dot(input, row, W_enc, latent, width);
				addRow(errors, row, value, W_dec, latent, width);
			}
		}
		return errors;
	};
	const terms: TermPass[] = [];
	let fixed = detached;
	for (const [t, term] of spec.loss.entries()) {
		const target = term.target === "input" ? x : fixed!.residual;
		const errors = errorsOf(term, selection[t]!, target);
		if (t === 0) fixed ??= { residual: errors.map((value) => -value), spread: spreadOf(errors, width) };
		const squared = errors.reduce((sum, value) => sum + value * value, 0);
		const divisor = term.reduction === "sum" ? rows : fixed!.spread;
		const silent = term.latents === "dead" && dead.length === 0;
		const weight = divisor > 0 && !silent ? term.weight / divisor : 0;
		terms.push({ loss: weight * squared, squared, scale: 2 * weight, errors });
	}
	return { loss: terms.reduce((sum, { loss }) => sum + loss, 0), terms, detached: fixed! };
}

export function gradients(
	spec: TrainingSpec,
	parameters: Parameters,
	x: Float64Array,
	selection: Selection,
	pass: Pass,
): Parameters {
	const { W_enc, W_dec, b_enc } = parameters;
	const width = parameters.b_dec.length;
	const { mean: zeros } = newState(parameters);
	const input = encoderInput(spec, parameters, x);
	for (const [t, { bias }] of spec.loss.entries()) {
		const { errors, scale } = pass.terms[t]!;
		for (const [row, latents] of selection[t]!.entries()) {
			if (bias) addRow(zeros.b_dec, 0, scale, errors.subarray(row * width), 0, width);
			for (const latent of latents) {
				const value = b_enc[latent]! + dot(input, row, W_enc, latent, width);
				const slope = scale * dot(errors, row, W_dec, latent, width);
				addRow(zeros.W_dec, latent, scale * value, errors, row, width);
				addRow(zeros.W_enc, latent, slope, input, row, width);
				zeros.b_enc[latent]! += slope;
				if (spec.apply_b_dec_to_input) addRow(zeros.b_dec, 0, -slope, W_enc, latent, width);
			}
		}
	}
	return zeros;
}

/** The gradient without its part along each unit row. */
function removeParallel(gradient: Float64Array, weights: Float64Array, width: number): void {
	for (let row = 0; row < gradient.length / width; row++) {
		addRow(gradient, row, -dot(gradient, row, weights, row, width), weights, row, width);
	}
}

function normaliseRows(weights: Float64Array, width: number): void {
	for (let row = 0; row < weights.length / width; row++) {
		const norm = Math.sqrt(dot(weights, row, weights, row, width));
		for (let i = 0; i < width; i++) weights[row * width + i]! /= norm;
	}
}

/** torch.optim.Adam without weight decay, on one parameter. */
function adam(
	weights: Float64Array,
	gradient: Float64Array,
	mean: Float64Array,
	square: Float64Array,
	{ lr, beta1, beta2, epsilon, update }: StepSettings,
): void {
	const correct1 = 1 - beta1 ** update;
	const correct2 = Math.sqrt(1 - beta2 ** update);
	for (const [i, g] of gradient.entries()) {
		mean[i] = beta1 * mean[i]! + (1 - beta1) * g;
		square[i] = beta2 * square[i]! + (1 - beta2) * g * g;
		weights[i]! -= ((lr / correct1) * mean[i]!) / (Math.sqrt(square[i]!) / correct2 + epsilon);
	}
}

export interface ReferenceReport {
	readonly loss: number;
	readonly terms: Readonly<Record<string, number>>;
	readonly squaredError: number;
	readonly fvu: number;
	readonly l0: number;
	readonly dead: number;
	/** Of the whole gradient, before clipping. */
	readonly gradientNorm: number;
}

/** One step on `raw` rows [rows, d_in]; changes `state`. `clip` 0: no clipping. */
export function trainStep(
	spec: TrainingSpec,
	state: State,
	raw: ArrayLike<number>,
	settings: StepSettings,
): ReferenceReport {
	const { parameters, since } = state;
	const width = parameters.b_dec.length;
	const x = Float64Array.from(raw, (value) => value * settings.input_scale);
	const rows = x.length / width;
	const selection = select(spec, state, x, settings.progress);
	const pass = forward(spec, state, x, selection);
	const gradient = gradients(spec, parameters, x, selection, pass);

	const unit = spec.parameters.filter(({ constraint }) => constraint === "unit_rows");
	for (const { name } of unit) removeParallel(gradient[name as "W_dec"], parameters[name as "W_dec"], width);
	const squares = PARAMETERS.map((name) => gradient[name].reduce((sum, g) => sum + g * g, 0));
	const gradientNorm = Math.sqrt(squares.reduce((sum, square) => sum + square, 0));
	const factor = settings.clip > 0 ? Math.min(1, settings.clip / (gradientNorm + 1e-6)) : 1;
	for (const name of PARAMETERS) {
		const clipped = gradient[name].map((g) => g * factor);
		adam(parameters[name], clipped, state.mean[name], state.square[name], settings);
	}
	for (const { name } of unit) normaliseRows(parameters[name as "W_dec"], width);

	const fired = new Set(selection[0]!.flat());
	for (const latent of since.keys()) since[latent] = fired.has(latent) ? 0 : since[latent]! + rows;
	state.dead = Array.from(since.keys()).filter((latent) => since[latent]! >= settings.dead_after);
	const [first] = pass.terms;
	return {
		loss: pass.loss,
		terms: Object.fromEntries(spec.loss.map(({ name }, t) => [name, pass.terms[t]!.loss])),
		squaredError: first!.squared,
		fvu: first!.squared / spreadOf(x, width),
		l0: selection[0]!.flat().length / rows,
		dead: state.dead.length,
		gradientNorm,
	};
}
