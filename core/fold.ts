/**
 * Exact changes of form: the same SAE, written so that it needs nothing but its weights. Folding never changes a
 * reconstruction; it refuses where it would.
 */
import { SaeError } from "./errors.ts";
import type { SaeModel, Tensor } from "./sae.ts";

/** Tensors in units of the pre-activation, so of the input: they scale with it. */
const IN_INPUT_UNITS = new Set(["b_enc", "b_dec", "threshold", "b_gate", "b_mag"]);
/** The ones of these with one entry per latent. */
const PER_LATENT = new Set(["b_enc", "threshold", "b_gate", "b_mag"]);
/** Rows this close to unit norm stay as they are, so that folding twice changes nothing. */
const UNIT_NORM_TOLERANCE = 1e-6;

/**
 * Folds a scalar input scale: an SAE trained on x' = x·scale becomes one for raw x. Biases and thresholds shrink
 * by the scale and the matrices stay, so decoder rows keep their norm and latents come out in raw units.
 *
 * @param scale The factor that training multiplied its inputs by; positive.
 * @throws SaeError when the SAE normalises every row by itself, where a scalar before it has no meaning.
 * @example
 * const raw = foldInputScale(trained, Math.sqrt(trained.d_in) / meanNorm);
 */
export function foldInputScale(model: SaeModel, scale: number): SaeModel {
	return foldScales(model, scale, scale);
}

/**
 * Folds what training multiplied its inputs and its targets by: numbers, or one for each column of d_in and of d_out.
 * Numbers leave decoder rows as they are, so latents come out in the targets' raw units; scales of columns go into the
 * matrices, and latents stay in the units of training.
 *
 * @throws SaeError for scales that aren't positive, and when the SAE normalises every row by itself.
 */
export function foldScales(
	model: SaeModel,
	input: number | Float32Array,
	target: number | Float32Array,
): SaeModel {
	for (const scale of [input, target].flatMap((scales) =>
		typeof scales === "number" ? [scales] : [...scales],
	)) {
		if (!(scale > 0 && Number.isFinite(scale))) {
			throw new SaeError(`an input scale has to be positive and finite, not ${scale}`);
		}
	}
	const { normalize_activations } = model;
	if (normalize_activations !== "none" && normalize_activations !== "expected_average_only_in") {
		throw new SaeError(
			`an input scale can't be folded into an SAE with normalize_activations "${normalize_activations}"`,
		);
	}
	if (typeof input === "number" && typeof target === "number") {
		const gain = input / target;
		const tensors = mapTensors(model, (name, tensor) => {
			if (IN_INPUT_UNITS.has(name)) return mapValues(tensor, (value) => value / target);
			return (name === "W_enc" || name === "W_skip") && gain !== 1
				? mapValues(tensor, (value) => value * gain)
				: tensor;
		});
		return { ...model, normalize_activations: "none", tensors };
	}
	const at = (scales: number | Float32Array, column: number) =>
		typeof scales === "number" ? scales : scales[column]!;
	const tensors = mapTensors(model, (name, tensor) => {
		if (name === "W_enc") return scaleRows(tensor, (row) => at(input, row));
		if (name === "W_skip") {
			const width = tensor.shape[1]!;
			return mapValues(
				tensor,
				(value, i) => (value * at(input, i % width)) / at(target, Math.floor(i / width)),
			);
		}
		if (name !== "W_dec" && name !== "b_dec") return tensor;
		const width = tensor.shape.at(-1)!;
		return mapValues(tensor, (value, index) => value / at(target, index % width));
	});
	return { ...model, normalize_activations: "none", tensors };
}

/**
 * Folds a scalar input scale as SAELens does: the matrices take it, biases and thresholds of latents stay, and so
 * latents keep the units of training.
 *
 * @throws SaeError as {@link foldScales} does.
 */
export function foldScaleKeepingLatents(model: SaeModel, scale: number): SaeModel {
	const { d_in, d_out = d_in } = model;
	return foldScales(model, new Float32Array(d_in).fill(scale), new Float32Array(d_out).fill(scale));
}

/**
 * Folds scalar scales of inputs and of targets so that latents come out in the raw units of the input. The matrices of
 * the encoder stay; `W_dec` takes what the two scales differ by.
 *
 * @throws SaeError as {@link foldScales} does.
 */
export function foldInputAndTarget(model: SaeModel, input: number, target: number): SaeModel {
	const raw = foldScales(model, input, input);
	const gain = input / target;
	if (!(gain > 0 && Number.isFinite(gain)))
		throw new SaeError(`a target scale has to be positive, not ${target}`);
	const tensors = mapTensors(raw, (name, tensor) =>
		["W_dec", "b_dec", "W_skip"].includes(name) && gain !== 1
			? mapValues(tensor, (value) => value * gain)
			: tensor,
	);
	return { ...raw, tensors };
}

/** Biases that are added to what the encoder's product gives. */
const ENCODER_BIASES = ["b_enc", "b_gate", "b_mag"];

/**
 * The same SAE with or without b_dec taken from its input, for formats that know only one of the two: what b_dec
 * changes about pre-activations moves into the encoder's biases, exactly but for rounding.
 *
 * @throws SaeError where reconstructions are of another width than inputs, so that b_dec can't be taken from them.
 */
export function withCentring(model: SaeModel, centred: boolean): SaeModel {
	const { d_in, d_out = d_in, tensors, apply_b_dec_to_input } = model;
	if (centred === apply_b_dec_to_input) return model;
	const { W_enc, b_dec, r_mag } = tensors as Record<"W_enc" | "b_dec", Tensor> & SaeModel["tensors"];
	if (d_out !== d_in) throw new SaeError("b_dec can't be taken from inputs of another width");
	const latents = W_enc.shape[1]!;
	const moved = new Float64Array(latents);
	for (let i = 0; i < d_in; i++) {
		const bias = centred ? b_dec.data[i]! : -b_dec.data[i]!;
		for (let latent = 0; latent < latents; latent++) {
			moved[latent]! += bias * W_enc.data[i * latents + latent]!;
		}
	}
	const changed = mapTensors(model, (name, tensor) => {
		if (!ENCODER_BIASES.includes(name)) return tensor;
		const gain = (latent: number) => (name === "b_mag" ? Math.exp(r_mag!.data[latent]!) : 1);
		return mapValues(tensor, (value, latent) => value + moved[latent]! * gain(latent));
	});
	return { ...model, apply_b_dec_to_input: centred, tensors: changed };
}

/**
 * Folds decoder norms: every row of `W_dec` gets unit norm, and its latent the norm's factor instead. Rows of
 * norm zero stay, for they reconstruct nothing at any scale.
 *
 * A `topk` SAE is changed only when its setting `rescale_acts_by_decoder_norm` says that it selects by activation
 * times norm; the setting is then spent and goes. Selecting first and scaling afterwards would keep other latents.
 *
 * @throws SaeError for a `topk` SAE with rows that aren't unit and no such setting.
 * @example
 * const unit = foldDecoderNorms(sae);
 */
export function foldDecoderNorms(model: SaeModel): SaeModel {
	const { rescale_acts_by_decoder_norm: rescaled, ...settings } = model.settings;
	const norms = decoderNorms(model);
	if (norms.every((norm) => norm === 1)) return { ...model, settings };
	if (model.architecture === "topk" && rescaled !== true) {
		throw new SaeError(
			"the decoder norms of this topk SAE can't be folded: it selects before scaling by them, so another set of latents would be kept",
		);
	}
	const tensors = mapTensors(model, (name, tensor) => {
		if (name === "W_dec") return scaleRows(tensor, (row) => 1 / norms[row]!);
		if (name === "W_enc") return scaleColumns(tensor, norms);
		return PER_LATENT.has(name) ? mapValues(tensor, (value, latent) => value * norms[latent]!) : tensor;
	});
	return { ...model, settings, tensors };
}

/** Whether every decoder row has unit norm, as near as float32 gets. */
export function hasUnitDecoder(model: SaeModel): boolean {
	return rowNorms(model).every(isUnit);
}

/** What to divide the decoder rows by [d_sae]: exactly 1 for rows that are as good as unit, or zero. */
function decoderNorms(model: SaeModel): Float64Array {
	return rowNorms(model).map((norm) => (norm === 0 || isUnit(norm) ? 1 : norm));
}

function rowNorms({ d_sae, tensors }: SaeModel): Float64Array {
	const { data } = tensors.W_dec!;
	const d_out = data.length / d_sae;
	return Float64Array.from({ length: d_sae }, (_, row) => {
		let square = 0;
		for (let i = row * d_out; i < (row + 1) * d_out; i++) square += data[i]! * data[i]!;
		return Math.sqrt(square);
	});
}

function isUnit(norm: number): boolean {
	return Math.abs(norm - 1) < UNIT_NORM_TOLERANCE;
}

function mapTensors(model: SaeModel, change: (name: string, tensor: Tensor) => Tensor): SaeModel["tensors"] {
	return Object.fromEntries(
		Object.entries(model.tensors).map(([name, tensor]) => [name, change(name, tensor)]),
	);
}

function mapValues({ shape, data }: Tensor, change: (value: number, index: number) => number): Tensor {
	return { shape, data: data.map(change) };
}

function scaleRows(tensor: Tensor, factor: (row: number) => number): Tensor {
	const width = tensor.shape[1]!;
	return mapValues(tensor, (value, index) => value * factor(Math.floor(index / width)));
}

function scaleColumns(tensor: Tensor, factors: Float64Array): Tensor {
	return mapValues(tensor, (value, index) => value * factors[index % factors.length]!);
}
