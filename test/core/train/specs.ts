/** Training descriptions and starting values for tests. */
import type { LossTerm, Schedule, TrainingSpec } from "../../../core/architecture.ts";
import { newState, PARAMETERS, type Parameters, type State } from "../../reference/train-step.ts";

const reconstruction = (name: string, k: Schedule, weight: number): LossTerm => ({
	name,
	latents: "all",
	select: { kind: "topk", k },
	target: "input",
	bias: true,
	reduction: "sum",
	weight,
});

export interface SpecOptions {
	readonly k: Schedule;
	/** k of a second reconstruction. */
	readonly multi?: number;
	/** k of the term that revives dead latents. */
	readonly auxk?: number;
	readonly centre?: boolean;
}

/** TopK as the literature has it; the weights of its further terms are large, so that tests notice them. */
export function topkSpec({ k, multi, auxk, centre = true }: SpecOptions): TrainingSpec {
	const aux = {
		name: "auxk",
		latents: "dead",
		select: { kind: "topk", k: auxk ?? 1 },
		target: "residual",
		bias: false,
		reduction: "variance",
		weight: 0.5,
	} as const;
	return {
		parameters: [
			{ name: "W_dec", shape: ["d_sae", "d_in"], init: { kind: "unit_rows" }, constraint: "unit_rows" },
			{ name: "W_enc", shape: ["d_sae", "d_in"], init: { kind: "copy", of: "W_dec", scale: 1 } },
			{ name: "b_enc", shape: ["d_sae"], init: { kind: "zeros" } },
			{ name: "b_dec", shape: ["d_in"], init: { kind: "zeros" } },
		],
		apply_b_dec_to_input: centre,
		loss: [
			reconstruction("reconstruction", k, 1),
			...(multi === undefined ? [] : [reconstruction("multi", multi, 0.25)]),
			...(auxk === undefined ? [] : [aux]),
		],
	};
}

/** Random parameters that float32 holds exactly; decoder rows have unit norm, to the last bit but one. */
export function randomState(d_in: number, d_sae: number, random: () => number): State {
	const draw = (length: number, scale: number) =>
		Float64Array.from({ length }, () => Math.fround((2 * random() - 1) * scale));
	const W_dec = draw(d_sae * d_in, 1);
	for (let at = 0; at < W_dec.length; at += d_in) {
		const row = W_dec.subarray(at, at + d_in);
		const norm = Math.hypot(...row);
		for (const [i, value] of row.entries()) row[i] = Math.fround(value / norm);
	}
	return newState({
		W_enc: draw(d_sae * d_in, Math.sqrt(3 / d_in)),
		W_dec,
		b_enc: draw(d_sae, 0.1),
		b_dec: draw(d_in, 0.3),
	});
}

/** The state as `TrainStep.restore` takes it. */
export function arraysOf({
	parameters,
	mean,
	square,
	since,
}: State): Record<string, Float32Array | Uint32Array> {
	const width = parameters.b_dec.length;
	const arrays: Record<string, Float32Array | Uint32Array> = { since: since.slice() };
	for (const name of PARAMETERS) arrays[name] = Float32Array.from(parameters[name]);
	for (const name of ["b_enc", "b_dec"] as const) {
		arrays[`moments.${name}.mean`] = Float32Array.from(mean[name]);
		arrays[`moments.${name}.square`] = Float32Array.from(square[name]);
	}
	for (const name of ["W_enc", "W_dec"] as const) {
		arrays[`moments.${name}`] = interleaved(mean[name], square[name], width);
	}
	return arrays;
}

/** Rows of both, in turn: how the moments of a matrix are kept. */
function interleaved(a: Parameters["W_enc"], b: Parameters["W_enc"], width: number): Float32Array {
	return Float32Array.from({ length: 2 * a.length }, (_, i) => {
		const [row, column] = [Math.floor(i / width), i % width];
		return (row % 2 === 0 ? a : b)[Math.floor(row / 2) * width + column]!;
	});
}
