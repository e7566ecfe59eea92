/** Small descriptions that use every feature architectures have, and starting values, for tests. */
import {
	type Activation,
	type LossTerm,
	type Nesting,
	type ParameterSpec,
	type Penalty,
	RELU,
	type Schedule,
	type Selection,
	type Sizes,
	type TrainingSpec,
} from "../../../core/architecture.ts";
import { decoderOf, learned, type Parameters } from "../../reference/encoder.ts";
import { newState, type State } from "../../reference/train-step.ts";

/** A description, and sizes that it fits. */
export interface Family {
	readonly spec: TrainingSpec;
	readonly sizes: Sizes;
	/** t of tilted empirical risk; none unless given. */
	readonly tilt?: number;
}

/** A reconstruction of the data. */
function term(name: string, select: Selection, more: Partial<LossTerm> = {}): LossTerm {
	return { name, latents: "all", select, target: "data", bias: true, reduction: "sum", weight: 1, ...more };
}

const topk = (k: Schedule): Selection => ({ kind: "topk", k });
const ALL: Selection = { kind: "all" };

/** Weights are large, so that tests notice the term. */
const auxk = (k: number, more: Partial<LossTerm> = {}): LossTerm =>
	term("auxk", topk(k), {
		latents: "dead",
		target: "residual",
		bias: false,
		reduction: "variance",
		weight: 0.5,
		...more,
	});

const own = (name: string, value: number): ParameterSpec => ({
	name,
	shape: ["d_sae"],
	init: { kind: "constant", value },
});

interface Further extends Partial<Omit<TrainingSpec, "parameters" | "loss">> {
	readonly parameters?: readonly ParameterSpec[];
	/** Rows of W_dec keep unit norm; they do unless told. */
	readonly unit?: boolean;
	/** Rows of W_enc, and numbers of b_enc; d_sae unless given. */
	readonly keys?: number;
}

function describe(loss: TrainingSpec["loss"], further: Further = {}): TrainingSpec {
	const { parameters = [], unit = true, keys = "d_sae", apply_b_dec_to_input = true, ...more } = further;
	const constant = { kind: "constant" } as const;
	const W_dec: ParameterSpec = {
		name: "W_dec",
		shape: ["d_sae", "d_out"],
		init: { kind: more.decoder ? "derived" : "random_rows" },
	};
	return {
		parameters: [
			unit ? { ...W_dec, constraint: "unit_rows" } : W_dec,
			{ name: "W_enc", shape: [keys, "d_in"], init: { kind: "random_rows" } },
			{ name: "b_enc", shape: [keys], init: constant },
			{ name: "b_dec", shape: ["d_out"], init: constant },
			...parameters,
		],
		apply_b_dec_to_input,
		loss,
		...more,
	};
}

export interface SpecOptions {
	readonly k: Schedule;
	/** k of a second reconstruction. */
	readonly multi?: number;
	/** k of the term that revives dead latents. */
	readonly auxk?: number;
	readonly centre?: boolean;
}

/** TopK as the literature has it. */
export function topkSpec({ k, multi, auxk: k_aux, centre = true }: SpecOptions): TrainingSpec {
	return describe(
		[
			term("reconstruction", topk(k)),
			...(multi === undefined ? [] : [term("multi", topk(multi), { weight: 0.25 })]),
			...(k_aux === undefined ? [] : [auxk(k_aux)]),
		],
		{ apply_b_dec_to_input: centre },
	);
}

/** ReLU with an L1 penalty weighed by decoder norms, which are free (Anthropic, April 2024). */
const NORM_L1: Penalty = { value: "f * norm", df: "norm", dnorm: "f", weight: "lambda" };

/** Σ (f + 0.1)^p, held at the strength it would have with p = 1 when p falls (p-annealing, Karvonen et al. 2024). */
const HELD_LP: Penalty = {
	value: "pow(f + 0.1, p)",
	df: "p * pow(f + 0.1, p - 1.0)",
	weight: "lambda",
	batch: { value: "h", slope: "select(0.0, h / s, s > 0.0)", beside: "f + 0.1" },
};

const TANH: Penalty = {
	value: "tanh(c * f * norm)",
	df: "c * norm * (1.0 - tanh(c * f * norm) * tanh(c * f * norm))",
	dnorm: "c * f * (1.0 - tanh(c * f * norm) * tanh(c * f * norm))",
	weight: "lambda",
};

/** Gated SAE (Rajamanoharan et al. 2024): the magnitude path; W_enc and b_enc are the gate's. */
const GATED: Activation = {
	keep: "z > 0.0",
	value: "max(exp(r_mag) * (z - b_enc) + b_mag, 0.0)",
	dz: "select(0.0, exp(r_mag), exp(r_mag) * (z - b_enc) + b_mag > 0.0)",
	d: {
		b_enc: "select(0.0, -exp(r_mag), exp(r_mag) * (z - b_enc) + b_mag > 0.0)",
		r_mag: "select(0.0, exp(r_mag) * (z - b_enc), exp(r_mag) * (z - b_enc) + b_mag > 0.0)",
		b_mag: "select(0.0, 1.0, exp(r_mag) * (z - b_enc) + b_mag > 0.0)",
	},
};

/** JumpReLU, with straight-through derivatives by the threshold (Rajamanoharan et al. 2024). */
const JUMP: Activation = {
	keep: "z > exp(log_threshold) - 0.5 * bandwidth",
	value: "select(0.0, z, z > exp(log_threshold))",
	dz: "select(0.0, 1.0, z > exp(log_threshold))",
	d: {
		log_threshold:
			"select(0.0, -exp(log_threshold) * exp(log_threshold) / bandwidth, abs(z - exp(log_threshold)) < 0.5 * bandwidth)",
	},
};

const L0: Penalty = {
	value: "select(0.0, 1.0, z > exp(log_threshold))",
	d: {
		log_threshold:
			"select(0.0, -exp(log_threshold) / bandwidth, abs(z - exp(log_threshold)) < 0.5 * bandwidth)",
	},
	weight: "lambda",
};

const L0_TARGET: Penalty = {
	...L0,
	batch: {
		value: "(s / wanted_l0 - 1.0) * (s / wanted_l0 - 1.0)",
		slope: "2.0 * (s / wanted_l0 - 1.0) / wanted_l0",
	},
};

/** JumpReLU with its penalty; the threshold starts at 0.3. */
export function jumpSpec(penalty: Penalty, further: Further = {}): TrainingSpec {
	return describe([term("reconstruction", ALL, { activation: JUMP, penalty })], {
		apply_b_dec_to_input: false,
		...further,
		parameters: [own("log_threshold", Math.log(0.3))],
		scalars: { lambda: 0.2, bandwidth: 0.2, ...further.scalars },
		sparsity: "lambda",
	});
}

const W_SKIP: ParameterSpec = { name: "W_skip", shape: ["d_out", "d_in"], init: { kind: "constant" } };

/** A decoder made of `n` candidates. */
function archetypal(n: number): Further {
	return {
		unit: false,
		decoder: { kind: "archetypal", delta: 0.4 },
		parameters: [
			{ name: "candidates", shape: [n, "d_out"], init: { kind: "k_means" } },
			{ name: "mixture", shape: ["d_sae", n], init: { kind: "one_hot_rows" } },
			{ name: "relaxation", shape: ["d_sae", "d_out"], init: { kind: "constant" } },
			{ name: "log_scale", shape: [1], init: { kind: "constant", value: 0.2 } },
		],
	};
}

/** A reconstruction in nested parts. */
function nested(select: Selection, nesting: Nesting): TrainingSpec {
	return describe([term("reconstruction", select, { nested: nesting }), auxk(3)]);
}

/** Every feature at least once. Where a size doesn't fit (product keys need a square), the next smaller one does. */
export function families(sizes: Sizes): Readonly<Record<string, Family>> {
	const { d_in, d_sae } = sizes;
	const square = { d_in, d_out: d_in, d_sae };
	const even = 2 * Math.ceil(d_in / 2);
	const keys = Math.floor(Math.sqrt(d_sae));
	const quarter = Math.floor(d_sae / 4);
	const plain: Record<string, TrainingSpec> = {
		topk: topkSpec({ k: 4 }),
		topk_uncentred: topkSpec({ k: { from: 6, to: 3, until: 0.5 }, centre: false }),
		multi_topk_auxk: topkSpec({ k: 3, multi: 6, auxk: 3 }),
		signed_topk: describe([
			term(
				"reconstruction",
				{ kind: "topk", k: 4, by: "magnitude" },
				{
					activation: { keep: "true", value: "z", dz: "1.0" },
				},
			),
		]),
		batch_topk: describe([term("reconstruction", { kind: "batch_topk", k: 3 }), auxk(3)]),
		feature_topk: describe(
			[term("reconstruction", { kind: "feature_topk" }), auxk(3, { reduction: "sum", weight: 0.3 })],
			{ allocation: { every: 2, plan: () => ({}) } },
		),
		relu: describe([term("reconstruction", ALL)]),
		relu_l1: describe([term("reconstruction", ALL, { penalty: NORM_L1 })], {
			apply_b_dec_to_input: false,
			unit: false,
			scalars: { lambda: { from: 0, to: 0.4, begin: -0.5, until: 0.5 } },
			sparsity: "lambda",
		}),
		lp_held: describe([term("reconstruction", ALL, { penalty: HELD_LP })], {
			scalars: { lambda: 0.3, p: { from: 0.5, to: 0.2, begin: 0.2, until: 0.8, stages: 3 } },
		}),
		gated: describe(
			[
				term("reconstruction", ALL, { activation: GATED }),
				term("gate", ALL, {
					decoder: "frozen",
					penalty: { value: "f", df: "1.0", weight: "lambda" },
				}),
			],
			{ parameters: [own("r_mag", 0.1), own("b_mag", -0.1)], scalars: { lambda: 0.3 } },
		),
		jumprelu: jumpSpec(L0),
		jumprelu_target: jumpSpec(L0_TARGET, { scalars: { wanted_l0: 4 } }),
		jumprelu_tanh_revival: jumpSpec(TANH, {
			unit: false,
			scalars: { c: 2 },
			revival: {
				weight: 0.1,
				threshold: "exp(log_threshold)",
				dthreshold: { log_threshold: "exp(log_threshold)" },
			},
		}),
		matryoshka: nested(
			{ kind: "batch_topk", k: 4 },
			{ by: "latent", sizes: [0, quarter, 2 * quarter, d_sae], weights: [0.2, 0.3, 0.1, 0.4] },
		),
		matryoshka_moving: nested(topk(5), {
			by: "latent",
			sizes: (update) => [1 + (update % quarter), d_sae],
			weights: [0.5, 1],
		}),
		msae: nested(topk(8), { by: "rank", sizes: [2, 4, d_sae], weights: [0.5, 0.3, 0.2] }),
	};
	const [data, ...others] = plain.multi_topk_auxk!.loss;
	const grouped = 4 * quarter;
	const families: Record<string, Family> = {
		group_max: {
			spec: describe([term("reconstruction", { kind: "group_max", groups: quarter })]),
			sizes: { ...square, d_sae: grouped },
		},
		product_keys: {
			spec: describe([term("reconstruction", { kind: "product_keys", k: 3 }), auxk(2)], { keys: 2 * keys }),
			sizes: { ...square, d_sae: keys * keys },
		},
		transcoder: {
			spec: describe([data, ...others], { apply_b_dec_to_input: false }),
			sizes: { ...sizes, d_out: sizes.d_out === d_in ? d_in + 3 : sizes.d_out },
		},
		skip_transcoder: {
			spec: describe(
				// A reconstruction without b_dec is one without the skip connection too.
				[data, { ...data, name: "bare", bias: false, weight: 0.25 }, others.at(-1)!],
				{ apply_b_dec_to_input: false, parameters: [W_SKIP] },
			),
			sizes: { ...sizes, d_out: sizes.d_out === d_in ? d_in + 3 : sizes.d_out },
		},
		skip_transcoder_tilted: {
			spec: describe([data], { apply_b_dec_to_input: false, parameters: [W_SKIP] }),
			sizes: { ...sizes, d_out: sizes.d_out === d_in ? d_in + 3 : sizes.d_out },
			tilt: 0.7,
		},
		archetypal: {
			spec: describe([data, others.at(-1)!], archetypal(quarter)),
			sizes: square,
		},
		archetypal_l1: {
			spec: describe([term("reconstruction", ALL, { penalty: NORM_L1 })], {
				...archetypal(quarter),
				scalars: { lambda: 0.3 },
			}),
			sizes: square,
		},
		crosscoder: {
			spec: describe([term("reconstruction", ALL, { activation: RELU, penalty: NORM_L1 })], {
				apply_b_dec_to_input: false,
				unit: false,
				scalars: { lambda: 0.3 },
				norm_blocks: 2,
			}),
			sizes: { d_in: even, d_out: even, d_sae },
		},
	};
	for (const [name, spec] of Object.entries(plain)) families[name] = { spec, sizes: square };
	for (const name of ["relu_l1", "multi_topk_auxk", "gated"])
		families[`${name}_tilted`] = { ...families[name]!, tilt: 0.7 };
	return families;
}

/**
 * Random parameters that float32 holds exactly. Decoder rows have unit norm, to the last bit but one, or, where they
 * are free, norms from 0.5 to 1.5; constants are scattered about their value.
 */
export function randomState(spec: TrainingSpec, sizes: Sizes, random: () => number): State {
	const draw = (length: number, scale: number, centre = 0) =>
		Float64Array.from({ length }, () => Math.fround(centre + (2 * random() - 1) * scale));
	const parameters: Record<string, Float64Array> = {};
	for (const { name, shape, init, constraint } of spec.parameters) {
		const length = shape
			.map((size) => (typeof size === "number" ? size : sizes[size]))
			.reduce((a, b) => a * b);
		if (name === "W_enc") parameters[name] = draw(length, Math.sqrt(3 / sizes.d_in));
		else if (name === "W_dec") {
			const weights = draw(length, 1);
			scaleRows(weights, sizes.d_out, () => (constraint === "unit_rows" ? 1 : 0.5 + random()));
			parameters[name] = weights;
		} else if (name === "candidates") parameters[name] = draw(length, 1);
		else if (name === "mixture") parameters[name] = mixtures(draw(length, 1), length / sizes.d_sae);
		else {
			const centre = init.kind === "constant" ? init.value : 0;
			parameters[name] = draw(length, name === "b_dec" ? 0.3 : 0.1, centre);
		}
	}
	if (spec.decoder) parameters.W_dec!.set(decoderOf(spec, parameters as Parameters));
	return newState(spec, parameters as Parameters);
}

/** Rows without a number below 0 that add up to 1, but for rounding; about half of the numbers are 0. */
function mixtures(values: Float64Array, width: number): Float64Array {
	for (let at = 0; at < values.length; at += width) {
		const row = values.subarray(at, at + width);
		row[0] = 0.5;
		const sum = row.reduce((total, share) => total + Math.max(0, share), 0);
		for (const [i, share] of row.entries()) row[i] = Math.fround(Math.max(0, share) / sum);
	}
	return values;
}

function scaleRows(weights: Float64Array, width: number, normOf: () => number): void {
	for (let at = 0; at < weights.length; at += width) {
		const row = weights.subarray(at, at + width);
		const factor = normOf() / Math.hypot(...row);
		for (const [i, value] of row.entries()) row[i] = Math.fround(value * factor);
	}
}

/** Integer quotas of feature_topk, unequal, of about `mean` codes per row. */
export function randomQuotas(d_sae: number, rows: number, mean: number, random: () => number): Uint32Array {
	return Uint32Array.from({ length: d_sae }, () => Math.round((2 * random() * mean * rows) / d_sae));
}

/** Columns of a matrix among the parameters; undefined for numbers in a row. */
export function widthOf(parameters: Parameters, name: string): number | undefined {
	const { W_enc, b_enc, b_dec, mixture, relaxation } = parameters;
	const d_in = W_enc.length / b_enc.length;
	const n = ((mixture?.length ?? 0) * b_dec.length) / (relaxation?.length ?? 1);
	const widths = { W_enc: d_in, W_dec: b_dec.length, W_skip: d_in };
	const ofDecoder = { candidates: b_dec.length, mixture: n, relaxation: b_dec.length, log_scale: 1 };
	return ({ ...widths, ...ofDecoder } as Record<string, number>)[name];
}

/** The state as `TrainStep.restore` takes it. */
export function arraysOf(
	spec: TrainingSpec,
	{ parameters, mean, square, since, threshold, density }: State,
): Record<string, Float32Array | Uint32Array> {
	const arrays: Record<string, Float32Array | Uint32Array> = { since: since.slice() };
	if (threshold.length > 0) arrays.threshold = Float32Array.from(threshold);
	if (density.length > 0) arrays.density = Float32Array.from(density);
	for (const [name, values] of Object.entries(parameters)) {
		arrays[name] = Float32Array.from(values);
		if (!learned(spec).includes(name)) continue;
		const width = widthOf(parameters, name);
		if (width !== undefined) {
			arrays[`moments.${name}`] = interleaved(mean[name]!, square[name]!, width);
		} else {
			arrays[`moments.${name}.mean`] = Float32Array.from(mean[name]!);
			arrays[`moments.${name}.square`] = Float32Array.from(square[name]!);
		}
	}
	return arrays;
}

/** Rows of both, in turn: how the moments of a matrix are kept. */
function interleaved(a: Float64Array, b: Float64Array, width: number): Float32Array {
	return Float32Array.from({ length: 2 * a.length }, (_, i) => {
		const [row, column] = [Math.floor(i / width), i % width];
		return (row % 2 === 0 ? a : b)[Math.floor(row / 2) * width + column]!;
	});
}
