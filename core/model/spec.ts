/**
 * What a language model is, as plain data: each family writes such a description from its `config.json`, and one
 * runtime runs them all.
 */
import type { Activation } from "../../kernels/model/map.ts";

/** A linear map of a checkpoint: out = x · Wᵀ + bias. */
export interface Linear {
	/** The tensor [out, in], or [in, out] when `transposed`. */
	readonly weight: string;
	readonly bias?: string | undefined;
	readonly transposed?: boolean;
	/** Where the tensor holds the outputs of several maps: how many, and which are this map's, in order. */
	readonly part?: { readonly of: number; readonly ranges: readonly Range[] };
	/** Sizes of this map. */
	readonly d_in: number;
	readonly d_out: number;
}

export interface Range {
	readonly start: number;
	readonly count: number;
}

/** Weight, and bias where there is one, of a normalisation. */
export interface Norm {
	readonly weight: string;
	readonly bias?: string;
}

export interface Layer {
	readonly ln1: Norm;
	readonly q: Linear;
	readonly k: Linear;
	readonly v: Linear;
	readonly o: Linear;
	/** Of the attention's output, before it is added. */
	readonly ln1Post?: Norm;
	readonly ln2: Norm;
	/** A map beside `up`, which its activation multiplies; without one, the activation is that of `up`. */
	readonly gate?: Linear;
	readonly up: Linear;
	readonly down: Linear;
	readonly ln2Post?: Norm;
	/** Factor of the scores before the softmax. */
	readonly scale: number;
	/** Keys that a query sees, itself included; 0: all up to itself. */
	readonly window: number;
}

export interface Rope {
	/** Dimensions of a head that turn; the rest stays. */
	readonly dims: number;
	/** Radians per position, for each pair: dims / 2 numbers. */
	readonly frequencies: Float32Array;
}

export interface ModelSpec {
	/** `model_type` of config.json. */
	readonly family: string;
	readonly d_model: number;
	readonly d_head: number;
	readonly heads: number;
	/** Heads of keys and values, which groups of query heads share. */
	readonly kvHeads: number;
	readonly d_mlp: number;
	readonly vocab: number;
	/** Positions that it was made for. */
	readonly context: number;
	/** Token ids that config.json names. */
	readonly bos: number | undefined;
	readonly eos: readonly number[];
	readonly pad: number | undefined;
	/** Start of the tensors' names that checkpoints without a head lack. */
	readonly prefix: string;
	readonly embed: { readonly tokens: string; readonly positions?: string; readonly scale: number };
	readonly rope: Rope | undefined;
	readonly norm: {
		readonly kind: "layer" | "rms";
		readonly eps: number;
		/** Whether the factor is 1 + weight. */
		readonly plusOne: boolean;
	};
	/** Scores become cap · tanh(score / cap); 0: they stay. */
	readonly scoreCap: number;
	readonly activation: Activation;
	/** Whether the MLP reads the residual stream as it was before attention. */
	readonly parallel: boolean;
	readonly layers: readonly Layer[];
	readonly finalNorm: Norm;
	readonly unembed: Linear;
	readonly logitCap: number;
	readonly modules: Modules;
}

/** Hook points by the paths of the modules whose outputs they are. */
export interface Modules {
	/** Path of the list of layers, e.g. `model.layers`. */
	readonly layers: string;
	/** By path within a layer; the layer itself is the empty path. */
	readonly inLayer: Readonly<Record<string, string>>;
	readonly outside: Readonly<Record<string, string>>;
}
