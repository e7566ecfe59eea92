/** One training step by its definition, in float64 on the CPU: the oracle for the compiled one. */
import type { TrainingSpec } from "../../core/architecture.ts";
import { type Batch, type Conditions, decoderOf, type Parameters, sizesOf } from "./encoder.ts";
import { forward, gradients, type Pass, zerosLike } from "./loss.ts";
import { select } from "./selection.ts";
import { addRow, dot, spreadOf } from "./vectors.ts";

/** How fast thresholds and densities follow the batches. */
const RATE = 0.01;

export interface State {
	readonly parameters: Parameters;
	/** Adam's running means of the gradient and of its square. */
	readonly mean: Parameters;
	readonly square: Parameters;
	/** Tokens since each latent last fired [d_sae]. */
	readonly since: Uint32Array;
	/**
	 * Running mean of the smallest positive code of a batch, 0 before there is one: [1] for batch_topk, [d_sae] for
	 * feature_topk, which counts batches where the latent has codes; else empty.
	 */
	readonly threshold: Float64Array;
	/** Running mean of codes per row [d_sae] where the description has an allocation; else empty. */
	readonly density: Float64Array;
	/** Latents that count as dead, ascending. */
	dead: readonly number[];
	/** The loss was not finite once; nothing changes any more. */
	stopped: boolean;
}

export function newState(spec: TrainingSpec, parameters: Parameters): State {
	const { d_sae } = sizesOf(parameters);
	const { kind } = spec.loss[0].select;
	return {
		parameters,
		mean: zerosLike(parameters),
		square: zerosLike(parameters),
		since: new Uint32Array(d_sae),
		threshold: new Float64Array(kind === "batch_topk" ? 1 : kind === "feature_topk" ? d_sae : 0),
		density: new Float64Array(spec.allocation === undefined ? 0 : d_sae),
		dead: [],
		stopped: false,
	};
}

export interface ReferenceSettings extends Conditions {
	readonly lr: number;
	readonly beta1: number;
	readonly beta2: number;
	readonly epsilon: number;
	/** Largest global gradient norm; 0: no clipping. */
	readonly clip: number;
	/** Tokens without firing after which a latent counts as dead. */
	readonly dead_after: number;
	/** Of allocations: densities under which a latent counts as dead instead [d_sae]. */
	readonly floor?: ArrayLike<number>;
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

/** Rows of the mixture on the simplex, those of the relaxation within a ball. */
function projectAtoms(parameters: Parameters, delta: number): void {
	const { mixture, relaxation } = parameters;
	const { d_out, d_sae } = sizesOf(parameters);
	const rowOf = (values: Float64Array, row: number) =>
		values.subarray((row * values.length) / d_sae, ((row + 1) * values.length) / d_sae);
	for (let latent = 0; latent < d_sae; latent++) {
		const shares = rowOf(mixture!, latent);
		const sum = shares.reduce((total, share) => total + Math.max(0, share), 0);
		for (const [i, share] of shares.entries()) shares[i] = Math.max(0, share) / Math.max(sum, 1e-8);
		const norm = Math.sqrt(dot(relaxation!, latent, relaxation!, latent, d_out));
		if (norm > delta)
			for (const i of rowOf(relaxation!, latent).keys()) rowOf(relaxation!, latent)[i]! *= delta / norm;
	}
}

/** torch.optim.Adam without weight decay, on one parameter. */
function adam(
	weights: Float64Array,
	gradient: Float64Array,
	mean: Float64Array,
	square: Float64Array,
	{ lr, beta1, beta2, epsilon, update }: ReferenceSettings,
): void {
	const correct1 = 1 - beta1 ** update;
	const correct2 = Math.sqrt(1 - beta2 ** update);
	for (const [i, g] of gradient.entries()) {
		mean[i] = beta1 * mean[i]! + (1 - beta1) * g;
		square[i] = beta2 * square[i]! + (1 - beta2) * g * g;
		weights[i]! -= ((lr / correct1) * mean[i]!) / (Math.sqrt(square[i]!) / correct2 + epsilon);
	}
}

/** Changes the parameters by their gradients, which it uses up. Returns the norm of the whole gradient. */
function updateParameters(
	spec: TrainingSpec,
	{ parameters, mean, square }: State,
	gradient: Parameters,
	settings: ReferenceSettings,
): number {
	const { d_in, d_out } = sizesOf(parameters);
	const unit = spec.parameters
		.filter(({ constraint }) => constraint === "unit_rows")
		.map(({ name }) => ({ name, width: name === "W_enc" ? d_in : d_out }));
	for (const { name, width } of unit) removeParallel(gradient[name]!, parameters[name]!, width);
	const squares = Object.values(gradient).map((values) => values.reduce((sum, g) => sum + g * g, 0));
	const norm = Math.sqrt(squares.reduce((sum, square) => sum + square, 0));
	const factor = settings.clip > 0 ? Math.min(1, settings.clip / (norm + 1e-6)) : 1;
	for (const [name, slope] of Object.entries(gradient)) {
		const clipped = slope.map((g) => g * factor);
		adam(parameters[name]!, clipped, mean[name]!, square[name]!, settings);
	}
	for (const { name, width } of unit) normaliseRows(parameters[name]!, width);
	if (spec.decoder) {
		projectAtoms(parameters, spec.decoder.delta);
		parameters.W_dec.set(decoderOf(spec, parameters));
	}
	return norm;
}

/** What a batch's codes of the first term change: liveness, densities, thresholds. */
function updateStatistics(
	state: State,
	codes: Pass["terms"][number]["codes"],
	{ dead_after, floor, quotas }: ReferenceSettings,
): void {
	const { since, density, threshold } = state;
	const fired = codes.flat().filter(({ f }) => f !== 0);
	const byLatent = Map.groupBy(fired, ({ latent }) => latent);
	for (const [latent, tokens] of since.entries()) {
		since[latent] = byLatent.has(latent) ? 0 : Math.min(tokens + codes.length, 0xffffffff);
	}
	for (const [latent, old] of density.entries()) {
		density[latent] = old + RATE * ((byLatent.get(latent)?.length ?? 0) / codes.length - old);
	}
	for (const [i, old] of threshold.entries()) {
		const own = (threshold.length === 1 ? fired : (byLatent.get(i) ?? [])).filter(({ f }) => f > 0);
		// Where nothing was left out, the smallest value says nothing of where to cut.
		if (own.length < (threshold.length === 1 ? 1 : quotas![i]!) || own.length === 0) continue;
		const smallest = own.reduce((least, { f }) => Math.min(least, f), Number.POSITIVE_INFINITY);
		threshold[i] = old === 0 ? smallest : old + RATE * (smallest - old);
	}
	const counts = floor === undefined ? since : density;
	state.dead = Array.from(counts.keys()).filter((latent) =>
		floor === undefined ? since[latent]! >= dead_after : density[latent]! < floor[latent]!,
	);
}

export interface ReferenceReport {
	readonly loss: number;
	/** What each term's errors add to the loss, or would without tilt. */
	readonly terms: Readonly<Record<string, number>>;
	/** What each term's penalty adds, by the term's name. */
	readonly penalties: Readonly<Record<string, number>>;
	readonly revival: number;
	/** Σ ‖error‖² of the first term, from all its latents. */
	readonly squaredError: number;
	readonly fvu: number;
	/** Codes of the first term per row that are not 0. */
	readonly l0: number;
	/** Latents that count as dead after the step. */
	readonly dead: number;
	/** Of the whole gradient, before clipping. */
	readonly gradientNorm: number;
}

/** One step on `batch`; changes `state`, unless the loss is not finite or was not at an earlier step. */
export function trainStep(
	spec: TrainingSpec,
	state: State,
	batch: Batch,
	settings: ReferenceSettings,
): ReferenceReport {
	const { x, y = x } = batch;
	const { d_out } = sizesOf(state.parameters);
	const pass = forward(spec, state, batch, settings, select(spec, state, batch, settings));
	const gradient = gradients(spec, state, batch, settings, pass);
	state.stopped ||= !Number.isFinite(pass.loss);
	let gradientNorm = Number.NaN;
	const first = pass.terms[0]!;
	if (!state.stopped) {
		gradientNorm = updateParameters(spec, state, gradient, settings);
		updateStatistics(state, first.codes, settings);
	}
	const shares = (of: "loss" | "penalty") =>
		Object.fromEntries(spec.loss.map(({ name }, t) => [name, pass.terms[t]![of]]));
	return {
		loss: pass.loss,
		terms: shares("loss"),
		penalties: shares("penalty"),
		revival: pass.revival,
		squaredError: first.squared,
		fvu: first.squared / spreadOf(y, d_out),
		l0: first.codes.flat().filter(({ f }) => f !== 0).length / first.codes.length,
		dead: state.dead.length,
		gradientNorm,
	};
}
