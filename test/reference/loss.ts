/**
 * The loss of a description, by its definition, and its gradient. The forward pass can be run with a selection and
 * {@link Detached} values that are given, which makes the loss the differentiable function whose gradient a step
 * follows, but for what formulas of derivatives estimate straight through.
 */
import { type LossTerm, type Penalty, RELU, type TrainingSpec } from "../../core/architecture.ts";
import {
	type Batch,
	type Conditions,
	decoderOf,
	encoderInput,
	keysOf,
	latentScope,
	learned,
	type Parameters,
	preActivations,
	scalarsOf,
	sizesOf,
	skipped,
} from "./encoder.ts";
import { numberOf } from "./formula.ts";
import type { Encoder, Selection } from "./selection.ts";
import { addRow, dot, spreadOf } from "./vectors.ts";

/** Values that no gradient flows through. */
export interface Detached {
	/** What the first term leaves unexplained [rows, d_out], and Σ ‖residual − mean‖². */
	readonly residual: Float64Array;
	readonly spread: number;
	/** The decoder of terms that don't train it, and its norms. */
	readonly decoder: Decoder;
	/** Of penalties that are functions of the batch, their slopes by term; without them, the function itself counts. */
	readonly slopes?: readonly number[];
}

interface Decoder {
	readonly W_dec: Float64Array;
	readonly b_dec: Float64Array;
	/** What a skip connection adds [rows, d_out]. */
	readonly skip: Float64Array;
	/** Decoder norms [d_sae]: of all blocks of columns together. */
	readonly norms: Float64Array;
}

interface Code {
	readonly latent: number;
	readonly z: number;
	readonly f: number;
	/** Place among the row's codes by size, from 0. */
	readonly rank: number;
}

/** One of the nested reconstructions; the only one, where nothing is nested. */
interface Part {
	readonly weight: number;
	readonly has: (code: Code) => boolean;
	/** Reconstruction − target [rows, d_out]. */
	readonly errors: Float64Array;
}

interface TermPass {
	/** By row. */
	readonly codes: readonly (readonly Code[])[];
	readonly parts: readonly Part[];
	/** Σ ‖error‖² of the reconstruction from all codes. */
	readonly squared: number;
	/** The shares of the loss that its errors and its penalty have, or would have without tilt. */
	readonly loss: number;
	readonly penalty: number;
	/** What squared errors of a row are multiplied by [rows]; 1 / rows or the tilt's weight, or 1 / spread. */
	readonly scale: Float64Array;
	/** What the derivatives of a row's penalty are multiplied by [rows], the penalty's weight included. */
	readonly penaltyScale: Float64Array;
	/** Slope of the penalty's function of the batch; 1 without. */
	readonly slope: number;
}

export interface Pass {
	readonly loss: number;
	readonly terms: readonly TermPass[];
	/** Share of the pre-activation loss of dead latents. */
	readonly revival: number;
	readonly detached: Detached;
}

export function decoderNorms(spec: TrainingSpec, W_dec: Float64Array, d_out: number): Float64Array {
	const block = d_out / (spec.norm_blocks ?? 1);
	const norms = new Float64Array(W_dec.length / d_out);
	for (let at = 0; at < W_dec.length / block; at++) {
		norms[Math.floor((at * block) / d_out)]! += Math.sqrt(dot(W_dec, at, W_dec, at, block));
	}
	return norms;
}

/** Errors of a term and what its penalty adds up to, before weights of rows. */
function reconstruct(
	term: LossTerm,
	kept: Selection[number],
	target: Float64Array,
	{ W_dec, b_dec, skip, norms }: Decoder,
	z: Float64Array,
	scopeOf: ReturnType<typeof latentScope>,
	update: number,
) {
	const d_sae = norms.length;
	const d_out = b_dec.length;
	const value = numberOf((term.activation ?? RELU).value);
	const codes = kept.map((latents, row) => {
		const unranked = latents.map((latent) => {
			const own = z[row * d_sae + latent]!;
			return { latent, z: own, f: value(scopeOf(latent, { z: own })) };
		});
		const order = unranked.toSorted((a, b) => b.f - a.f || a.latent - b.latent);
		const ranks = new Map(order.map((code, rank) => [code, rank]));
		return unranked.map((code): Code => ({ ...code, rank: ranks.get(code)! }));
	});
	const { nested } = term;
	const sizes = typeof nested?.sizes === "function" ? nested.sizes(update) : (nested?.sizes ?? [d_sae]);
	const parts = sizes.map((size, j): Part => {
		const has = (code: Code) => (nested?.by === "rank" ? code.rank : code.latent) < size;
		const errors = target.map((wanted, i) => (term.bias ? b_dec[i % d_out]! + skip[i]! : 0) - wanted);
		for (const [row, entries] of codes.entries()) {
			for (const code of entries.filter(has)) addRow(errors, row, code.f, W_dec, code.latent, d_out);
		}
		return { weight: nested?.weights[j] ?? 1, has, errors };
	});
	const sumOf = (formula: string) => {
		const each = numberOf(formula);
		return Float64Array.from(codes, (entries) =>
			entries.reduce(
				(sum, { latent, z, f }) => sum + each(scopeOf(latent, { z, f, norm: norms[latent]! })),
				0,
			),
		);
	};
	return {
		codes,
		parts,
		values: sumOf(term.penalty?.value ?? "0.0"),
		beside: sumOf(term.penalty?.batch?.beside ?? "0.0"),
	};
}

function total(values: Float64Array): number {
	return values.reduce((sum, value) => sum + value, 0);
}

/** ‖error‖² by row. */
function squaresOf(errors: Float64Array, width: number): Float64Array {
	return Float64Array.from({ length: errors.length / width }, (_, row) =>
		dot(errors, row, errors, row, width),
	);
}

/** A penalty of the batch: what it adds to the loss, and its slope. With a slope that is `given`, that times s. */
function batchPenalty(
	{ batch, weight }: Penalty,
	scalars: Readonly<Record<string, number>>,
	values: Float64Array,
	beside: Float64Array,
	given?: number,
) {
	const [s, h] = [values, beside].map((sums) => total(sums) / sums.length) as [number, number];
	const scope = { ...scalars, s, h };
	const slope = numberOf(batch!.slope)(scope);
	const value = given === undefined ? numberOf(batch!.value)(scope) : given * s;
	return { slope, loss: scalars[weight]! * value };
}

/** Means over rows; with tilt t, (1/t) ln mean exp(t · loss). And the gradient's weight of each row. */
function overRows(losses: Float64Array, tilt: number): { loss: number; weights: Float64Array } {
	const rows = losses.length;
	if (tilt === 0) return { loss: total(losses) / rows, weights: losses.map(() => 1 / rows) };
	const top = losses.reduce((most, loss) => Math.max(most, tilt * loss), Number.NEGATIVE_INFINITY);
	const shares = losses.map((loss) => Math.exp(tilt * loss - top));
	const sum = total(shares);
	return { loss: (top + Math.log(sum / rows)) / tilt, weights: shares.map((share) => share / sum) };
}

/** Pre-activation loss of dead latents: how far they are below their threshold, times their norm. */
function revivalLoss(
	{ revival }: TrainingSpec,
	z: Float64Array,
	dead: readonly number[],
	norms: Float64Array,
	scopeOf: ReturnType<typeof latentScope>,
): number {
	if (revival === undefined) return 0;
	const threshold = numberOf(revival.threshold);
	const rows = z.length / norms.length;
	let below = 0;
	for (let row = 0; row < rows; row++) {
		for (const latent of dead) {
			const own = z[row * norms.length + latent]!;
			below += Math.max(0, threshold(scopeOf(latent, { z: own })) - own) * norms[latent]!;
		}
	}
	return (revival.weight * below) / rows;
}

/** `dead` latents, if there are none, leave their term nothing to say. */
export function forward(
	spec: TrainingSpec,
	{ parameters, dead }: Encoder,
	{ x, y = x }: Batch,
	conditions: Conditions,
	selection: Selection,
	detached?: Detached,
): Pass {
	const { b_dec } = parameters;
	const W_dec = decoderOf(spec, parameters);
	const { d_in, d_out } = sizesOf(parameters);
	const rows = x.length / d_in;
	const z = preActivations(spec, parameters, x);
	const scopeOf = latentScope(spec, parameters, conditions);
	const scalars = scalarsOf(spec, conditions);
	const skip = skipped(parameters, x, rows);
	const decoder = { W_dec, b_dec, skip, norms: decoderNorms(spec, W_dec, d_out) };
	const frozen = detached?.decoder ?? { ...decoder, W_dec: W_dec.slice(), b_dec: b_dec.slice() };

	const rowLosses = new Float64Array(rows);
	let residual = detached?.residual;
	let spread = detached?.spread;
	let loss = 0;
	const drafts = spec.loss.map((term, t) => {
		const own = term.decoder === "frozen" ? frozen : decoder;
		const target = term.target === "data" ? y : residual!;
		const { codes, parts, values, beside } = reconstruct(
			term,
			selection[t]!,
			target,
			own,
			z,
			scopeOf,
			conditions.update,
		);
		const last = parts.at(-1)!.errors;
		residual ??= last.map((error) => -error);
		spread ??= spreadOf(residual, d_out);

		const silent = term.latents === "dead" && dead.length === 0;
		const ofBatch = term.reduction === "variance";
		const weight = silent || (ofBatch && spread === 0) ? 0 : term.weight / (ofBatch ? spread : 1);
		let squares = 0;
		for (const part of parts) {
			for (const [row, square] of squaresOf(part.errors, d_out).entries()) {
				const share = weight * part.weight * square;
				if (ofBatch) loss += share;
				else rowLosses[row]! += share;
				squares += share;
			}
		}

		let penalty = 0;
		let slope = 1;
		const penaltyWeight = term.penalty === undefined ? 0 : scalars[term.penalty.weight]!;
		if (term.penalty?.batch !== undefined) {
			const found = batchPenalty(term.penalty, scalars, values, beside, detached?.slopes?.[t]);
			slope = found.slope;
			penalty = found.loss;
			loss += penalty;
		} else {
			for (const [row, value] of values.entries()) rowLosses[row]! += penaltyWeight * value;
			penalty = (penaltyWeight * total(values)) / rows;
		}
		const squared = total(squaresOf(last, d_out));
		const share = ofBatch ? squares : squares / rows;
		return { term, codes, parts, squared, loss: share, penalty, slope, weight, penaltyWeight };
	});

	const mean = overRows(rowLosses, conditions.tilt ?? 0);
	loss += mean.loss;
	const passes = drafts.map(({ term, weight, penaltyWeight, ...pass }): TermPass => {
		const penaltyRows = term.penalty?.batch ? mean.weights.map(() => pass.slope / rows) : mean.weights;
		return {
			...pass,
			scale: mean.weights.map((row) => weight * (term.reduction === "variance" ? 1 : row)),
			penaltyScale: penaltyRows.map((row) => penaltyWeight * row),
		};
	});

	const revived = revivalLoss(spec, z, dead, frozen.norms, scopeOf);
	loss += revived;
	return {
		loss,
		terms: passes,
		revival: revived,
		detached: detached ?? {
			residual: residual!,
			spread: spread!,
			decoder: frozen,
			slopes: passes.map(({ slope }) => slope),
		},
	};
}

/** Gradients of all parameters that learn, by their names. */
export function gradients(
	spec: TrainingSpec,
	{ parameters, dead }: Encoder,
	{ x }: Batch,
	conditions: Conditions,
	pass: Pass,
): Parameters {
	const { W_enc } = parameters;
	const W_dec = decoderOf(spec, parameters);
	const { d_in, d_out, d_sae } = sizesOf(parameters);
	const rows = x.length / d_in;
	const input = encoderInput(spec, parameters, x);
	const keys = keysOf(spec, parameters);
	const scopeOf = latentScope(spec, parameters, conditions);
	const norms = decoderNorms(spec, W_dec, d_out);
	const gradient = zerosLike(parameters);
	const byNorm = new Float64Array(d_sae);

	const addParameters = (
		latent: number,
		scale: number,
		scope: Readonly<Record<string, number>>,
		formulas: Readonly<Record<string, string>> = {},
	) => {
		for (const [name, formula] of Object.entries(formulas))
			gradient[name]![latent]! += scale * numberOf(formula)(scope);
	};
	const addPreActivation = (row: number, latent: number, slope: number) => {
		for (const key of keys(latent)) {
			addRow(gradient.W_enc, key, slope, input, row, d_in);
			gradient.b_enc[key]! += slope;
			if (spec.apply_b_dec_to_input) addRow(gradient.b_dec, 0, -slope, W_enc, key, d_in);
		}
	};

	for (const [t, { activation = RELU, bias, decoder, penalty }] of spec.loss.entries()) {
		const { codes, parts, scale, penaltyScale } = pass.terms[t]!;
		const trained = decoder !== "frozen";
		const dz = numberOf(activation.dz);
		const [penaltyF, penaltyZ, penaltyNorm] = [penalty?.df, penalty?.dz, penalty?.dnorm].map((formula) =>
			numberOf(formula ?? "0.0"),
		);
		for (const [row, entries] of codes.entries()) {
			const slopes = entries.map(() => 0);
			for (const part of parts) {
				const factor = 2 * scale[row]! * part.weight;
				if (bias && trained) {
					addRow(gradient.b_dec, 0, factor, part.errors, row, d_out);
					for (let i = 0; gradient.W_skip && i < d_out; i++)
						addRow(gradient.W_skip, i, factor * part.errors[row * d_out + i]!, x, row, d_in);
				}
				for (const [i, code] of entries.entries()) {
					if (!part.has(code)) continue;
					slopes[i]! += factor * dot(part.errors, row, W_dec, code.latent, d_out);
					if (trained) addRow(gradient.W_dec, code.latent, factor * code.f, part.errors, row, d_out);
				}
			}
			for (const [i, { latent, z, f }] of entries.entries()) {
				const scope = scopeOf(latent, { z, f, norm: norms[latent]! });
				const weight = penaltyScale[row]!;
				const slope = slopes[i]! + weight * penaltyF!(scope);
				if (trained) byNorm[latent]! += weight * penaltyNorm!(scope);
				addParameters(latent, slope, scope, activation.d);
				addParameters(latent, weight, scope, penalty?.d);
				addPreActivation(row, latent, slope * dz(scope) + weight * penaltyZ!(scope));
			}
		}
	}

	if (spec.revival !== undefined) {
		const { weight, threshold, dthreshold } = spec.revival;
		const z = preActivations(spec, parameters, x);
		for (let row = 0; row < rows; row++) {
			for (const latent of dead) {
				const own = z[row * d_sae + latent]!;
				const scope = scopeOf(latent, { z: own });
				if (own >= numberOf(threshold)(scope)) continue;
				const scale = (weight * norms[latent]!) / rows;
				addParameters(latent, scale, scope, dthreshold);
				addPreActivation(row, latent, -scale);
			}
		}
	}
	addNorms(spec, gradient.W_dec, W_dec, byNorm, d_out);
	if (spec.decoder) addAtoms(gradient, parameters, W_dec);
	const names = learned(spec);
	return Object.fromEntries(
		Object.entries(gradient).filter(([name]) => names.includes(name)),
	) as Partial<Parameters> as Parameters;
}

/** From the gradient of an archetypal decoder to those of what it is made of. */
function addAtoms(gradient: Parameters, parameters: Parameters, W_dec: Float64Array): void {
	const { candidates, log_scale } = parameters;
	const { d_out, d_sae } = sizesOf(parameters);
	const n = candidates!.length / d_out;
	const scale = Math.exp(log_scale![0]!);
	for (let latent = 0; latent < d_sae; latent++) {
		gradient.log_scale![0]! += dot(gradient.W_dec, latent, W_dec, latent, d_out);
		addRow(gradient.relaxation!, latent, scale, gradient.W_dec, latent, d_out);
		for (let c = 0; c < n; c++) {
			gradient.mixture![latent * n + c]! += scale * dot(gradient.W_dec, latent, candidates!, c, d_out);
		}
	}
}

/** From the gradient of each latent's decoder norm to that of W_dec. A block of zeros has none. */
function addNorms(
	spec: TrainingSpec,
	gradient: Float64Array,
	W_dec: Float64Array,
	byNorm: Float64Array,
	d_out: number,
): void {
	const block = d_out / (spec.norm_blocks ?? 1);
	for (let at = 0; at < W_dec.length / block; at++) {
		const norm = Math.sqrt(dot(W_dec, at, W_dec, at, block));
		const slope = byNorm[Math.floor((at * block) / d_out)]!;
		if (norm > 0) addRow(gradient, at, slope / norm, W_dec, at, block);
	}
}

/** Arrays of the same names and sizes, of zeros. */
export function zerosLike(parameters: Parameters): Parameters {
	const zeros = Object.entries(parameters).map(([name, { length }]) => [name, new Float64Array(length)]);
	return Object.fromEntries(zeros);
}
