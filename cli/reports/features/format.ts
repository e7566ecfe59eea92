/**
 * What a page of features holds, for those who write it and for its own program, which reads it: plain data only.
 *
 * Everything lies in script elements that nothing executes, as base64 of gzip: `manifest`, `labels` and `latents-N`
 * are JSON, `columns` are numbers behind each other, and blobs (`sae`, `model`) are bytes in numbered pieces.
 */
import type { InferenceSpec } from "../../../core/architecture.ts";
import type { SaeModel } from "../../../core/sae.ts";

/** Type of the elements that hold data. */
export const DATA_TYPE = "application/octet-stream";

export interface Manifest {
	readonly title: string;
	/** What is said of the SAE and the data: names with text. */
	readonly facts: readonly Fact[];
	/** What made them, as typed. */
	readonly commands: readonly Fact[];
	/** FVU, by the name of where it was measured, if it is known. */
	readonly fvu: readonly [name: string, value: number] | undefined;
	readonly d_sae: number;
	/** Rows that the statistics are over; unknown in streams of others. */
	readonly seen: number | undefined;
	/** Latents in the page. */
	readonly rows: number;
	/** Numbers that are known of every latent, in the order in which they lie. */
	readonly columns: readonly Column[];
	/** Row of the first latent of each chunk. */
	readonly chunks: readonly number[];
	readonly map: MapKind | undefined;
	readonly curves: readonly Curve[];
	readonly live: LiveManifest | undefined;
}

export type Fact = readonly [name: string, value: string];

export interface Column {
	readonly name: string;
	readonly type: "f32" | "f64";
}

export type MapKind = "umap" | "pca";

/** A figure of training against tokens. */
export interface Curve {
	readonly name: string;
	readonly points: readonly (readonly [tokens: number, value: number])[];
}

/** Text that is known of every latent. */
export interface Labels {
	/** The tokens that it is most active on. */
	readonly tokens: readonly (readonly string[])[];
	/** Columns of text that the stream has besides, such as `explanation`; null where there is none. */
	readonly texts: Readonly<Record<string, readonly (string | null)[]>>;
}

/** Latents that are read together. */
export interface Chunk {
	/** What tokens read as; elsewhere they are numbers of this list. */
	readonly strings: readonly string[];
	readonly latents: readonly PackedLatent[];
}

export interface PackedLatent {
	readonly histogram: { readonly start: number; readonly width: number; readonly counts: readonly number[] };
	readonly top: readonly PackedExample[];
	readonly samples: readonly PackedExample[];
	readonly raised: readonly PackedLogit[];
	readonly lowered: readonly PackedLogit[];
	readonly nearest: readonly (readonly [latent: number, cosine: number])[];
	readonly cooccurring: readonly (readonly [latent: number, jaccard: number, phi: number])[];
}

export type PackedLogit = readonly [string: number, logit: number];

export interface PackedExample {
	readonly value: number;
	readonly quantile: number;
	/** Row, and document and position where they are known, as text. */
	readonly place: string;
	/** Which of the tokens the example is of. */
	readonly at: number;
	/** Numbers of strings. */
	readonly tokens: readonly number[];
	/** Pairs: which token, and the activation there; the others are 0. */
	readonly active: readonly number[];
}

/** What it takes to encode text in the page. */
export interface LiveManifest {
	/** The SAE without its tensors, of which the shapes are said. */
	readonly sae: Omit<SaeModel, "tensors">;
	readonly inference: InferenceSpec;
	readonly tensors: readonly KnownTensor[];
	/** The hook point that the SAE encodes; unknown for streams that don't say. */
	readonly hookPoint: string | undefined;
	/** Name of the language model, for people. */
	readonly model: string | undefined;
	/** What the page holds: the SAE's encoder and the model, as safetensors. */
	readonly embedded: { readonly sae?: HeldBytes; readonly model?: EmbeddedModel };
}

/** What is known of a tensor that the page may not hold. */
export interface KnownTensor {
	readonly name: string;
	readonly shape: readonly number[];
	/** What `fingerprint` gives of its numbers. */
	readonly print: number;
}

/**
 * Tells tensors apart, of the same shape too, though not by what rounding to float16 changes. Two of them are of the
 * same numbers where these differ by less than {@link SAME_PRINT}.
 */
export function fingerprint(data: Float32Array): number {
	let [along, size] = [0, 0];
	for (let i = 0; i < data.length; i++) {
		along += data[i]! * Math.cos(i);
		size += Math.abs(data[i]!);
	}
	return size === 0 ? 0 : along / size;
}

export const SAME_PRINT = 1e-4;

/** Bytes in pieces. */
export interface HeldBytes {
	readonly bytes: number;
	readonly pieces: number;
}

/** A language model up to the hook point. */
export interface EmbeddedModel {
	/** Of config.json, tokenizer.json and, where there is one, tokenizer_config.json. */
	readonly config: unknown;
	readonly tokenizer: unknown;
	readonly settings: unknown;
	readonly weights: HeldBytes;
}

/** Columns as they lie behind each other: the wider first, so that each is aligned for its type. */
export function inOrder<C extends Pick<Column, "type">>(columns: readonly C[]): C[] {
	return [...columns.filter(({ type }) => type === "f64"), ...columns.filter(({ type }) => type === "f32")];
}

/** Columns that every page has; others are of the stream: scores and the like. */
export const NUMBERS = [
	"latent",
	"count",
	"density",
	"mean",
	"min",
	"max",
	"decoder_norm",
	"encoder_decoder_cosine",
] as const;

/** Columns of the map. */
const PLACES = ["x", "y"];

/** The columns of numbers that the stream has besides, such as scores of explanations. */
export function scoresOf(columns: readonly Pick<Column, "name">[]): string[] {
	const own: readonly string[] = [...NUMBERS, ...PLACES];
	return columns.map(({ name }) => name).filter((name) => !own.includes(name));
}

/** Stands for a row of which nothing is known that could be read. */
export const NO_TEXT = "• ";

/** Latents with a density above this are called dense. */
export const DENSE = 0.1;
