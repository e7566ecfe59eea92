/** What an SAE is made of, and how inputs become pre-activations and formulas get their names. */
import type { Schedule, TrainingSpec } from "../../core/architecture.ts";
import { addRow, dot } from "./vectors.ts";

/**
 * float64 arrays by name. `W_enc` [d_sae, d_in], `W_dec` [d_sae, d_out], `b_enc` [d_sae], `b_dec` [d_out] and
 * further ones [d_sae]; of product keys, `W_enc` [2·√d_sae, d_in] and `b_enc` [2·√d_sae]. A W_dec that is made of other
 * parameters is among them, as it was last derived.
 */
export type Parameters = Readonly<
	Record<string, Float64Array> & Record<"W_enc" | "W_dec" | "b_enc" | "b_dec", Float64Array>
>;

/** Rows as the trainer scaled them. */
export interface Batch {
	/** [rows, d_in] */
	readonly x: Float64Array;
	/** What is to be reconstructed [rows, d_out]; x unless given. */
	readonly y?: Float64Array;
}

/** What a step's loss depends on beside state and data. */
export interface Conditions {
	/** Share of the run that is done, 0 to 1. */
	readonly progress: number;
	/** Updates made so far, this one included. */
	readonly update: number;
	/** t of tilted empirical risk; 0 or nothing: the plain mean over rows. */
	readonly tilt?: number;
	/** What the L0 controller multiplies `spec.sparsity` by; 1 unless given. */
	readonly sparsity?: number;
	/** Of feature_topk: codes of each latent in this batch, whole numbers [d_sae]. */
	readonly quotas?: ArrayLike<number>;
}

export function sizesOf({ W_enc, W_dec, b_enc, b_dec }: Parameters) {
	return { d_in: W_enc.length / b_enc.length, d_out: b_dec.length, d_sae: W_dec.length / b_dec.length };
}

/** Parameters that learn: all but those that stay, or that follow from others. */
export function learned({ parameters, decoder }: TrainingSpec): string[] {
	return parameters
		.map(({ name }) => name)
		.filter((name) => decoder === undefined || (name !== "W_dec" && name !== "candidates"));
}

/** W_dec: exp(log_scale) · (mixture · candidates + relaxation) of an archetypal decoder, or a parameter. */
export function decoderOf(spec: TrainingSpec, parameters: Parameters): Float64Array {
	if (spec.decoder === undefined) return parameters.W_dec;
	const { candidates, mixture, relaxation, log_scale } = parameters;
	const { d_out, d_sae } = sizesOf(parameters);
	const atoms = relaxation!.slice();
	const n = mixture!.length / d_sae;
	for (let latent = 0; latent < d_sae; latent++) {
		for (let c = 0; c < n; c++) addRow(atoms, latent, mixture![latent * n + c]!, candidates!, c, d_out);
	}
	return atoms.map((value) => value * Math.exp(log_scale![0]!));
}

/** x · W_skipᵀ [rows, d_out]; zeros where there is no skip connection. */
export function skipped({ W_skip, b_dec }: Parameters, x: Float64Array, rows: number): Float64Array {
	const out = new Float64Array(rows * b_dec.length);
	if (W_skip === undefined) return out;
	const d_in = x.length / rows;
	return out.map((_, i) => dot(x, Math.floor(i / b_dec.length), W_skip, i % b_dec.length, d_in));
}

/** The rows of W_enc and b_enc whose sum is a latent's pre-activation: its own, or a pair of product keys. */
export function keysOf(spec: TrainingSpec, { b_enc }: Parameters): (latent: number) => readonly number[] {
	if (spec.loss[0].select.kind !== "product_keys") return (latent) => [latent];
	const keys = b_enc.length / 2;
	return (latent) => [Math.floor(latent / keys), keys + (latent % keys)];
}

/** x − b_dec, or x itself [rows, d_in]. */
export function encoderInput(spec: TrainingSpec, { b_dec }: Parameters, x: Float64Array): Float64Array {
	return spec.apply_b_dec_to_input ? x.map((value, i) => value - b_dec[i % b_dec.length]!) : x;
}

/** z [rows, d_sae]. */
export function preActivations(spec: TrainingSpec, parameters: Parameters, x: Float64Array): Float64Array {
	const { W_enc, b_enc } = parameters;
	const { d_in, d_sae } = sizesOf(parameters);
	const input = encoderInput(spec, parameters, x);
	const keys = keysOf(spec, parameters);
	const z = new Float64Array((x.length / d_in) * d_sae);
	for (let row = 0; row < x.length / d_in; row++) {
		const pre = b_enc.map((bias, key) => bias + dot(input, row, W_enc, key, d_in));
		for (let latent = 0; latent < d_sae; latent++)
			for (const key of keys(latent)) z[row * d_sae + latent]! += pre[key]!;
	}
	return z;
}

export function scheduled(schedule: Schedule, progress: number): number {
	if (typeof schedule === "number") return schedule;
	const { from, to, begin = 0, until, stages } = schedule;
	if (progress >= until) return to;
	const share = Math.max(0, progress - begin) / (until - begin);
	return from + (to - from) * (stages === undefined ? share : Math.floor(share * stages) / stages);
}

export function scalarsOf(
	spec: TrainingSpec,
	{ progress, sparsity = 1 }: Conditions,
): Record<string, number> {
	const scalars: Record<string, number> = {};
	for (const [name, schedule] of Object.entries(spec.scalars ?? {})) {
		scalars[name] = scheduled(schedule, progress) * (name === spec.sparsity ? sparsity : 1);
	}
	return scalars;
}

/** Names of the parameters that formulas may use. */
export function latentParameters(spec: TrainingSpec): string[] {
	return spec.parameters
		.filter(({ shape: [size, ...more] }) => size === "d_sae" && more.length === 0)
		.map((p) => p.name);
}

/** The names that formulas see for a latent. Each call changes and returns the same object. */
export function latentScope(
	spec: TrainingSpec,
	parameters: Parameters,
	conditions: Conditions,
): (latent: number, values: Readonly<Record<string, number>>) => Record<string, number> {
	const scope = scalarsOf(spec, conditions);
	const names = latentParameters(spec);
	return (latent, values) => {
		for (const name of names) scope[name] = parameters[name]![latent]!;
		return Object.assign(scope, values);
	};
}
