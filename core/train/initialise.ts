/** First values of an architecture's parameters, from their description, a sample of the data and a seed. */
import type { Initialisation, ParameterSpec, Size, Sizes, TrainingSpec } from "../architecture.ts";
import { SaeError, usageError } from "../errors.ts";
import { foldScales, withCentring } from "../fold.ts";
import { transposed } from "../matrix.ts";
import { CounterRng } from "../random.ts";
import type { SaeModel, Tensor } from "../sae.ts";
import { composeAtoms } from "./archetypes.ts";
import { geometricMedian, meanRow } from "./centre.ts";
import type { DataScales } from "./finish.ts";
import { firingBiases } from "./firing-rate.ts";
import { kMeans } from "./k-means.ts";

/** Parameters by name, row-major, matrices with one row per latent. */
export type ParameterValues = Record<string, Float32Array>;

/** A sample of the data, as the step will see it, that is, already scaled. */
export interface Sample {
	/** [n, d_in] */
	readonly inputs: Float32Array;
	/** [n, d_out]; the inputs themselves where they are what is reconstructed. */
	readonly targets: Float32Array;
}

/** @param seed The same seed gives the same values. */
export function initialise(spec: TrainingSpec, sizes: Sizes, sample: Sample, seed: number): ParameterValues {
	const values: ParameterValues = {};
	const rng = new CounterRng(seed);
	// What depends on other parameters comes last, whatever the order of the description.
	const ordered = [...spec.parameters.entries()].sort(([, a], [, b]) => rankOf(a.init) - rankOf(b.init));
	for (const [number, parameter] of ordered) {
		values[parameter.name] =
			parameter.init.kind === "firing_rate"
				? firingBiases(spec, sizes, sample.inputs, values, parameter.init)
				: firstValue(parameter, sizes, sample, rng.derive(number), values);
	}
	return values;
}

function rankOf({ kind }: Initialisation): number {
	return ["derived", "copy", "firing_rate"].indexOf(kind);
}

function firstValue(
	{ name, init, shape }: ParameterSpec,
	sizes: Sizes,
	sample: Sample,
	rng: CounterRng,
	values: ParameterValues,
): Float32Array {
	const size = (of: Size) => (typeof of === "number" ? of : sizes[of]);
	const length = shape.reduce<number>((product, of) => product * size(of), 1);
	switch (init.kind) {
		case "constant":
			return new Float32Array(length).fill(init.value ?? 0);
		case "random_rows":
			return randomRows(length, size(shape.at(-1)!), init.norm ?? 1, rng);
		case "uniform":
			return new Float32Array(length).map((_, i) => init.bound * (2 * rng.uniform(i) - 1));
		case "copy": {
			const original = values[init.of]!;
			if (original.length !== length) {
				throw usageError(
					`${name} starts as a copy of ${init.of}, so that targets have to be as wide as the inputs; use an architecture that starts otherwise, such as transcoder`,
				);
			}
			return original.map((value) => value * init.scale);
		}
		case "data_centre": {
			const centre = init.method === "mean" ? meanRow : geometricMedian;
			return Float32Array.from(centre(sample.targets, sizes.d_out));
		}
		case "k_means":
			return kMeans(sample.targets, sizes.d_out, size(shape[0]!), rng);
		case "one_hot_rows": {
			const columns = size(shape[1]!);
			return new Float32Array(length).map((_, i) =>
				Math.floor(i / columns) % columns === i % columns ? 1 : 0,
			);
		}
		case "derived":
			return Float32Array.from(composeAtoms(values, sizes.d_out));
		default:
			throw new Error(`${init.kind} has no first value`);
	}
}

function randomRows(length: number, width: number, norm: number, rng: CounterRng): Float32Array {
	const rows = new Float32Array(length);
	for (let at = 0; at < length; at += width) {
		let square = 0;
		for (let i = at; i < at + width; i++) {
			rows[i] = rng.normal(i);
			square += rows[i]! ** 2;
		}
		const scale = norm / Math.sqrt(square);
		for (let i = at; i < at + width; i++) rows[i]! *= scale;
	}
	return rows;
}

/**
 * Parameters of a saved SAE, as a step that multiplies its data by `scales` needs them.
 *
 * @param restore The architecture's own way back, from what it saves to its parameters.
 * @throws SaeError when a parameter is missing, or of another size.
 */
export function parametersOf(
	spec: TrainingSpec,
	sizes: Sizes,
	model: SaeModel,
	scales: DataScales,
	restore?: (model: SaeModel) => Readonly<Record<string, Tensor>>,
): ParameterValues {
	const inverse = (scale: number | Float32Array) =>
		typeof scale === "number" ? 1 / scale : scale.map((value) => 1 / value);
	if (model.normalize_activations !== "none") {
		throw new SaeError(
			`an SAE with the input step ${model.normalize_activations} can't be trained on: training has none`,
		);
	}
	// Others' SAEs may not take b_dec from the input where this architecture does, or the reverse.
	const centred = sizes.d_out === sizes.d_in ? withCentring(model, spec.apply_b_dec_to_input) : model;
	const scaled = foldScales(centred, inverse(scales.input), inverse(scales.target));
	const tensors = restore?.(scaled) ?? scaled.tensors;
	const values: ParameterValues = {};
	for (const { name, shape } of spec.parameters) {
		const tensor = tensors[name];
		const length = shape.reduce<number>(
			(product, size) => product * (typeof size === "number" ? size : sizes[size]),
			1,
		);
		if (tensor?.data.length !== length) {
			throw new SaeError(
				`an SAE of the architecture ${model.architecture} has no ${name} of this size to go on from`,
			);
		}
		values[name] = name === "W_enc" ? transposed(tensor.data, sizes.d_in, length / sizes.d_in) : tensor.data;
	}
	return values;
}
