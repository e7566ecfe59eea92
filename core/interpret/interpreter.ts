/** What explains latents. */
import type { Schema } from "apache-arrow";
import type { Feature } from "../arrow/features.ts";
import type { PassagePool } from "./pool.ts";

/** A latent, with what was said of it before. */
export interface LatentToExplain {
	readonly feature: Feature;
	readonly explanation: string | null;
	/** Who said it. */
	readonly source: string | null;
}

export interface Interpretation {
	/** Null where nothing can be said. */
	readonly explanation: string | null;
	/** Who says it, e.g. the name of a model; null without an explanation. */
	readonly source: string | null;
	/** By the interpreter's columns. */
	readonly scores: Readonly<Record<string, number | null>>;
}

export interface Interpreter {
	/** Columns of numbers that it adds. */
	readonly columns: readonly string[];
	/** Called for several latents at once. */
	interpret(latent: LatentToExplain): Promise<Interpretation>;
	close?(): Promise<void>;
}

export interface InterpreterInput {
	readonly schema: Schema;
	/** Passages of other latents. */
	readonly pool: PassagePool;
	/** What is to be explained, from the first at each call. */
	latents(): AsyncIterable<LatentToExplain>;
}
