/**
 * The four kinds of Arrow stream that pass between commands, and the metadata they carry.
 *
 * A stream is plain Arrow IPC. Its schema metadata says what it is (`sae.stream`), the batch metadata says where
 * the batch begins in its source (`sae.cursor`), so that a resumed consumer can find its place again.
 */
import type { RecordBatch, Schema } from "apache-arrow";

export type StreamKind = "activations" | "latents" | "metrics" | "features";

export const STREAM_VERSION = "1";

/** Keys of the schema metadata. */
export const META = {
	kind: "sae.stream",
	version: "sae.version",
	/** Name → width of each vector column, as JSON. */
	width: "sae.d_in",
	model: "sae.model",
	hookPoint: "sae.hook_point",
	/** The tokenizer's file, and a hash of its content. */
	tokenizer: "sae.tokenizer",
	/** The exact command that made the stream. */
	command: "sae.command",
	/** How many times the stream goes through its rows, when more than once. */
	epochs: "sae.epochs",
	/** How many rows the producer has in all, its row 0 and up, when it knows. */
	rows: "sae.rows",
	/** Which part of a source the rows are, as `3/8`, when they are not all. */
	part: "sae.part",
	/** The SAE that the latents are of. */
	sae: "sae.sae",
	/** How many rows the statistics of a features stream are over. */
	seen: "sae.seen",
	/** How co-occurrence was counted, and how far off it may be, in words. */
	cooccurrence: "sae.cooccurrence",
	/** Batch metadata: the row number, in the producer's order, of the batch's first row. */
	cursor: "sae.cursor",
	/** Batch metadata: seed of the shuffle that set the order, when there was one. */
	seed: "sae.seed",
} as const;

/** A typed stream: its schema is known before the first batch arrives. */
export interface RecordStream {
	readonly schema: Schema;
	readonly batches: AsyncIterable<RecordBatch>;
	/** From where a thread of its own can read these batches instead, as long as none has been read here. */
	readonly input?: StreamInput;
}

/** A regular file of `size` bytes, or a pipe from which nothing but `head` has been read. */
export type StreamInput =
	| { readonly path: string; readonly size: number }
	| { readonly descriptor: number; readonly head: Uint8Array };

/** The batches of a stream that are all there. */
export async function* each<T>(items: Iterable<T>): AsyncGenerator<T> {
	yield* items;
}

/** The commands that made a stream, and the one that works on it: a pipe. */
export function commandsAfter(
	metadata: ReadonlyMap<string, string>,
	command: string | undefined,
): string | undefined {
	const commands = [metadata.get(META.command), command].filter((one) => one !== undefined);
	return commands.length > 0 ? commands.join(" | ") : undefined;
}

/** Whether rows come more than once, so that none of them can be held out. */
export function repeats(schema: Schema): boolean {
	return Number(schema.metadata.get(META.epochs) ?? 1) > 1;
}

/** Where a stream's activations come from, as an SAE's metadata says it (SAELens' names). */
export function origin({ metadata }: Schema): Record<string, string> {
	const known = {
		model_name: metadata.get(META.model),
		hook_name: metadata.get(META.hookPoint),
		activations_command: metadata.get(META.command),
	};
	return Object.fromEntries(
		Object.entries(known).filter((entry): entry is [string, string] => entry[1] !== undefined),
	);
}
