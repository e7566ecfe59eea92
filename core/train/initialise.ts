/** First values of an architecture's parameters, from their description, a sample of the data and a seed. */
import type { Initialisation, ParameterSpec, TrainingSpec } from "../architecture.ts";
import { transposed } from "../matrix.ts";
import { CounterRng } from "../random.ts";
import type { SaeModel } from "../sae.ts";
import { geometricMedian, meanRow } from "./centre.ts";

/** Parameters by name, row-major, matrices with one row per latent. */
export type ParameterValues = Record<string, Float32Array>;

/**
 * @param sample Rows [n, d_in] as the encoder will see them, that is, already scaled.
 * @param seed The same seed gives the same values.
 */
export function initialise(
	spec: TrainingSpec,
	shape: { readonly d_in: number; readonly d_sae: number },
	sample: Float32Array,
	seed: number,
): ParameterValues {
	const values: ParameterValues = {};
	const rng = new CounterRng(seed);
	// Copies come last, whatever the order of the description.
	const ordered = [...spec.parameters.entries()].sort(([, a], [, b]) => rankOf(a.init) - rankOf(b.init));
	for (const [number, parameter] of ordered) {
		values[parameter.name] = firstValue(parameter, shape, sample, rng.derive(number), values);
	}
	return values;
}

function rankOf(init: Initialisation): number {
	return init.kind === "copy" ? 1 : 0;
}

function firstValue(
	{ init, shape: sizes }: ParameterSpec,
	shape: { readonly d_in: number; readonly d_sae: number },
	sample: Float32Array,
	rng: CounterRng,
	values: ParameterValues,
): Float32Array {
	const length = sizes.reduce((product, size) => product * shape[size], 1);
	switch (init.kind) {
		case "zeros":
			return new Float32Array(length);
		case "unit_rows":
			return unitRows(length, shape.d_in, rng);
		case "copy":
			return values[init.of]!.map((value) => value * init.scale);
		case "data_centre": {
			const centre = init.method === "mean" ? meanRow : geometricMedian;
			return Float32Array.from(centre(sample, shape.d_in));
		}
	}
}

function unitRows(length: number, width: number, rng: CounterRng): Float32Array {
	const rows = new Float32Array(length);
	for (let at = 0; at < length; at += width) {
		let square = 0;
		for (let i = at; i < at + width; i++) {
			rows[i] = rng.normal(i);
			square += rows[i]! ** 2;
		}
		const scale = 1 / Math.sqrt(square);
		for (let i = at; i < at + width; i++) rows[i]! *= scale;
	}
	return rows;
}

/** Parameters of a finished SAE, as a step that multiplies its inputs by `inputScale` needs them. */
export function parametersOf(model: SaeModel, inputScale: number): ParameterValues {
	const { W_enc, b_enc, W_dec, b_dec } = model.tensors;
	return {
		W_enc: transposed(W_enc!.data, model.d_in, model.d_sae),
		W_dec: W_dec!.data,
		b_enc: b_enc!.data.map((value) => value * inputScale),
		b_dec: b_dec!.data.map((value) => value * inputScale),
	};
}
