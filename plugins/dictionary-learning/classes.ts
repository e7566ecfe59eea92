/** Classes of dictionaries: their tensors and what they compute. Source: dictionary_learning, dictionary.py and trainers/. */
import type { Core, SaeModel, Tensor } from "saeflow";
import { filled, transposedTensor, type WeightReader } from "../shared/weights.ts";

type Read = Pick<
	SaeModel,
	"architecture" | "d_in" | "d_sae" | "apply_b_dec_to_input" | "settings" | "tensors"
>;

export interface DictionaryClass {
	readonly read: (core: Core, weights: WeightReader, path: string) => Promise<Read>;
	/** The state dict's tensors; the SAE is of the class's form already. */
	readonly write: (core: Core, model: SaeModel) => Readonly<Record<string, Tensor | WholeNumber>>;
	/** The name of its trainer, as config.json has it. */
	readonly trainer: string;
}

/** A 0-d int32. */
export interface WholeNumber {
	readonly int: number;
}

/** `torch.nn.Linear` keeps a matrix as [out, in]. */
async function linears(weights: WeightReader) {
	const [d_sae, d_in] = weights.matrix("encoder.weight");
	const W_enc = await weights.takeTransposed("encoder.weight", [d_sae, d_in]);
	const W_dec = await weights.takeTransposed("decoder.weight", [d_in, d_sae]);
	return { d_in, d_sae, matrices: { W_enc, W_dec } };
}

function linearsOf(core: Core, { tensors }: SaeModel) {
	return {
		"encoder.weight": transposedTensor(core, tensors.W_enc!),
		"decoder.weight": transposedTensor(core, tensors.W_dec!),
	};
}

/** Matrices as SAELens has them. */
async function plainMatrices(weights: WeightReader) {
	const [d_in, d_sae] = weights.matrix("W_enc");
	const tensors = {
		W_enc: await weights.take("W_enc", [d_in, d_sae]),
		b_enc: await weights.take("b_enc", [d_sae]),
		W_dec: await weights.take("W_dec", [d_sae, d_in]),
		b_dec: await weights.take("b_dec", [d_in]),
	};
	return { d_in, d_sae, tensors };
}

function plainMatricesOf({ tensors: { W_enc, b_enc, W_dec, b_dec } }: SaeModel) {
	return { W_enc: W_enc!, b_enc: b_enc!, W_dec: W_dec!, b_dec: b_dec! };
}

/** One threshold for all latents, kept by training as a running mean; below 0 it never began. */
async function cut({ SaeError }: Core, weights: WeightReader, path: string): Promise<number> {
	const threshold = await weights.scalar("threshold");
	if (threshold >= 0) return threshold;
	throw new SaeError(
		`${path}: its threshold is ${threshold}: training stopped before it was measured (threshold_start_step), and without one a latent's code depends on its whole batch`,
	);
}

async function budget({ SaeError }: Core, weights: WeightReader, path: string): Promise<number> {
	const k = await weights.scalar("k");
	if (Number.isInteger(k) && k >= 1) return k;
	throw new SaeError(`${path}: its k is ${k}, where a whole number of latents is needed`);
}

/** The one threshold of an SAE whose latents share it. */
export function sharedThreshold({ tensors }: SaeModel): number | undefined {
	const [first, ...others] = tensors.threshold?.data ?? [];
	return first !== undefined && first >= 0 && others.every((value) => value === first) ? first : undefined;
}

/** As {@link linears}, with the bias that two classes call by different names. */
function relu(bias: string, centred: boolean, trainer: string): DictionaryClass {
	return {
		trainer,
		async read(_, weights) {
			const { d_in, d_sae, matrices } = await linears(weights);
			const b_enc = await weights.take("encoder.bias", [d_sae]);
			const b_dec = await weights.take(bias, [d_in]);
			return {
				architecture: "standard",
				d_in,
				d_sae,
				apply_b_dec_to_input: centred,
				settings: {},
				tensors: { ...matrices, b_enc, b_dec },
			};
		},
		write: (core, model) => ({
			[bias]: model.tensors.b_dec!,
			...linearsOf(core, model),
			"encoder.bias": model.tensors.b_enc!,
		}),
	};
}

export const CLASSES: Readonly<Record<string, DictionaryClass>> = {
	AutoEncoder: relu("bias", true, "StandardTrainer"),
	AutoEncoderNew: relu("decoder.bias", false, "StandardTrainer"),
	GatedAutoEncoder: {
		trainer: "GatedSAETrainer",
		async read(_, weights) {
			const { d_in, d_sae, matrices } = await linears(weights);
			const tensors = {
				...matrices,
				b_dec: await weights.take("decoder_bias", [d_in]),
				b_gate: await weights.take("gate_bias", [d_sae]),
				b_mag: await weights.take("mag_bias", [d_sae]),
				r_mag: await weights.take("r_mag", [d_sae]),
			};
			return { architecture: "gated", d_in, d_sae, apply_b_dec_to_input: true, settings: {}, tensors };
		},
		write: (core, model) => ({
			decoder_bias: model.tensors.b_dec!,
			r_mag: model.tensors.r_mag!,
			gate_bias: model.tensors.b_gate!,
			mag_bias: model.tensors.b_mag!,
			...linearsOf(core, model),
		}),
	},
	// It has apply_b_dec_to_input as a plain attribute, which is False and never saved.
	JumpReluAutoEncoder: {
		trainer: "JumpReluTrainer",
		async read(_, weights) {
			const { d_in, d_sae, tensors } = await plainMatrices(weights);
			const threshold = await weights.take("threshold", [d_sae]);
			return {
				architecture: "jumprelu",
				d_in,
				d_sae,
				apply_b_dec_to_input: false,
				settings: {},
				tensors: { ...tensors, threshold },
			};
		},
		write: (_, model) => ({ ...plainMatricesOf(model), threshold: model.tensors.threshold! }),
	},
	AutoEncoderTopK: {
		trainer: "TopKTrainer",
		async read(core, weights, path) {
			const { d_in, d_sae, matrices } = await linears(weights);
			const k = await budget(core, weights, path);
			// Measured in training, but its encode() takes the k largest unless told otherwise.
			weights.skip("threshold");
			return {
				architecture: "topk",
				d_in,
				d_sae,
				apply_b_dec_to_input: true,
				settings: { k },
				tensors: {
					...matrices,
					b_enc: await weights.take("encoder.bias", [d_sae]),
					b_dec: await weights.take("b_dec", [d_in]),
				},
			};
		},
		write: (core, model) => ({
			b_dec: model.tensors.b_dec!,
			k: { int: Number(model.settings.k) },
			threshold: { shape: [], data: new Float32Array([-1]) },
			...linearsOf(core, model),
			"encoder.bias": model.tensors.b_enc!,
		}),
	},
	BatchTopKSAE: {
		trainer: "BatchTopKTrainer",
		async read(core, weights, path) {
			const { d_in, d_sae, matrices } = await linears(weights);
			await budget(core, weights, path);
			return {
				architecture: "jumprelu",
				d_in,
				d_sae,
				apply_b_dec_to_input: true,
				settings: {},
				tensors: {
					...matrices,
					b_enc: await weights.take("encoder.bias", [d_sae]),
					b_dec: await weights.take("b_dec", [d_in]),
					threshold: filled(d_sae, await cut(core, weights, path)),
				},
			};
		},
		write: (core, model) => ({
			b_dec: model.tensors.b_dec!,
			k: { int: Number(model.metadata.k) },
			threshold: { shape: [], data: new Float32Array([sharedThreshold(model)!]) },
			...linearsOf(core, model),
			"encoder.bias": model.tensors.b_enc!,
		}),
	},
	MatryoshkaBatchTopKSAE: {
		trainer: "MatryoshkaBatchTopKTrainer",
		async read(core, weights, path) {
			const { d_in, d_sae, tensors } = await plainMatrices(weights);
			await budget(core, weights, path);
			// Every group is active in what a file is loaded as.
			weights.skip("group_sizes");
			const threshold = filled(d_sae, await cut(core, weights, path));
			return {
				architecture: "jumprelu",
				d_in,
				d_sae,
				apply_b_dec_to_input: true,
				settings: {},
				tensors: { ...tensors, threshold },
			};
		},
		write: (_, model) => ({
			...plainMatricesOf(model),
			k: { int: Number(model.metadata.k) },
			threshold: { shape: [], data: new Float32Array([sharedThreshold(model)!]) },
		}),
	},
};

/** The class that a state dict is of, where its tensors alone tell. */
export function classByTensors(weights: Pick<WeightReader, "has">): string | undefined {
	if (weights.has("group_sizes")) return "MatryoshkaBatchTopKSAE";
	if (weights.has("gate_bias")) return "GatedAutoEncoder";
	if (weights.has("W_enc") && weights.has("threshold") && !weights.has("k")) return "JumpReluAutoEncoder";
	if (weights.has("encoder.weight") && weights.has("bias")) return "AutoEncoder";
	return weights.has("encoder.weight") && weights.has("decoder.bias") ? "AutoEncoderNew" : undefined;
}
