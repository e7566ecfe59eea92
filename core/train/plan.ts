/** What follows from a description alone: places of its terms among the codes, and what its gradients take. */
import { mentions, type Names } from "../../kernels/formula.ts";
import type { RowFormat } from "../../kernels/prepare.ts";
import { type Activation, type LossTerm, RELU, type TrainingSpec } from "../architecture.ts";
import { type PlacedSelection, reranks, roomOf } from "../gpu/select.ts";

export interface StepShape {
	readonly d_in: number;
	/** Width of the targets, where they are others than the inputs. */
	readonly d_out?: number | undefined;
	readonly d_sae: number;
	/** Rows of every batch. */
	readonly rows: number;
	/** Rows that are computed at a time; all of a batch's unless given. */
	readonly microRows?: number | undefined;
	/** How rows arrive. */
	readonly format: RowFormat;
	/** Whether gradients are clipped by their global norm, which costs a second pass over the codes. */
	readonly clip: boolean;
	/** Rows arrive with a scale each. */
	readonly rowScales?: boolean | undefined;
	/** What each column of the inputs, or of the targets, is multiplied by besides the step's scale. */
	readonly columnScales?: Float32Array | undefined;
	readonly targetScales?: Float32Array | undefined;
	/** Rows weigh in by their loss: tilted empirical risk. */
	readonly tilted?: boolean | undefined;
	/** A running mean of the weights is kept. */
	readonly averaged?: boolean | undefined;
}

/** Rows that are computed at a time. */
export function microRows({ rows, microRows = rows }: StepShape): number {
	return Math.min(rows, microRows);
}

/** A loss term with its place among the codes. */
export interface PlacedTerm extends Omit<LossTerm, "activation">, PlacedSelection {
	readonly activation: Activation;
	/** By part; one for a term that is not nested. */
	readonly weights: readonly number[];
	/** Whether pre-activations and codes differ, or a penalty sums over them. */
	readonly activated: boolean;
}

/** What follows from the description alone. */
export interface Plan {
	readonly terms: readonly PlacedTerm[];
	readonly blocks: number;
	/** Entries of rows with a fixed room; entries of any number lie behind them. */
	readonly fixedEntries: number;
	/** Whether any selection gives rows any number of codes. */
	readonly unbounded: boolean;
	/** Parameters of shape [d_sae] besides b_enc. */
	readonly vectors: readonly string[];
	/** Rows of numbers beside them: the decoder's norms, which latents are dead. */
	readonly derived: readonly ("norm" | "dead")[];
	readonly names: Names;
	/** Whether codes' gradients take more than a scale. */
	readonly weighed: boolean;
	/** Gradients of the latents' vectors that get shares from codes, `norm` among them. */
	readonly shares: readonly string[];
	/**
	 * Rows of the gradient of the latents' vectors; `z` for that of the pre-activations, where b_enc's has more in it.
	 */
	readonly gradientRows: readonly string[];
}

/** Matrices that an archetypal decoder is made of. */
export const ARCHETYPAL = ["candidates", "mixture", "relaxation", "log_scale"];

export function planStep(spec: TrainingSpec, shape: StepShape): Plan {
	let blocks = 0;
	let fixedEntries = 0;
	const terms = spec.loss.map((term, number): PlacedTerm => {
		const { select, nested } = term;
		const magnitude = select.kind === "topk" && select.by === "magnitude";
		const activation = term.activation ?? (magnitude ? { ...RELU, keep: "z != 0.0" } : RELU);
		const weights = nested?.weights ?? [1];
		const room = roomOf(select, nested);
		const placed = {
			...term,
			number,
			deadOnly: term.latents === "dead",
			activation,
			keep: activation.keep,
			nestedBy: nested?.by,
			firstBlock: blocks,
			parts: weights.length,
			weights,
			entry: fixedEntries,
			room,
			activated: activation.value !== "z" || term.penalty !== undefined,
		};
		blocks += weights.length;
		fixedEntries += shape.rows * room;
		return placed;
	});
	const vectors = spec.parameters
		.filter(({ name, shape: sizes }) => sizes.length === 1 && sizes[0] === "d_sae" && name !== "b_enc")
		.map(({ name }) => name);
	const formulas = terms.flatMap(({ activation, penalty }) => [
		activation.value,
		activation.dz,
		...Object.values(activation.d ?? {}),
		...(penalty ? [penalty.value, penalty.df, penalty.dz, penalty.dnorm, penalty.batch?.beside] : []),
		...Object.values(penalty?.d ?? {}),
	]);
	const normed = !hasUnitRows(spec, "W_dec") && (spec.revival !== undefined || mentions(formulas, "norm"));
	const derived = [...(normed ? (["norm"] as const) : []), ...(spec.revival ? (["dead"] as const) : [])];
	const shared = new Set(
		terms.flatMap(({ activation, penalty }) => [
			...Object.keys(activation.d ?? {}),
			...Object.keys(penalty?.d ?? {}),
			// Rows of unit norm lose what pulls along them.
			...(normed && penalty?.dnorm !== undefined ? ["norm"] : []),
		]),
	);
	for (const name of Object.keys(spec.revival?.dthreshold ?? {})) shared.add(name);
	const gradientRows = [
		"b_enc",
		...vectors,
		...(shared.has("norm") ? ["norm"] : []),
		...(shared.has("b_enc") ? ["z"] : []),
	];
	return {
		terms,
		blocks,
		fixedEntries,
		unbounded: terms.some(({ room }) => room === 0),
		vectors,
		derived,
		names: { vectors: ["b_enc", ...vectors, ...derived], scalars: Object.keys(spec.scalars ?? {}) },
		weighed:
			shape.tilted === true ||
			spec.revival !== undefined ||
			terms.some(({ activated, decoder }) => activated || decoder === "frozen"),
		shares: gradientRows.filter((name) => shared.has(name)),
		gradientRows,
	};
}

/** Whether the rows of this matrix keep unit norm. */
export function hasUnitRows({ parameters }: TrainingSpec, matrix: string): boolean {
	return parameters.some(({ name, constraint }) => name === matrix && constraint === "unit_rows");
}

/** Whether nothing looks at pre-activations but selections that find their codes exactly where those have a margin. */
export function isReranked({ revival }: TrainingSpec, terms: readonly PlacedTerm[]): boolean {
	return revival === undefined && terms.every(reranks);
}

/** The block of a term that has its whole reconstruction. */
export function lastBlock({ firstBlock, parts }: PlacedTerm): number {
	return firstBlock + parts - 1;
}

/** The first blocks of the terms that b_dec learns from: their errors have those of all further parts in them. */
export function biasBlocks(terms: readonly PlacedTerm[]): number[] {
	return terms
		.filter(({ bias, decoder }) => bias && decoder !== "frozen")
		.map(({ firstBlock }) => firstBlock);
}

/** Rows of the encoder: one per latent, but two per latent's square root where latents are pairs of keys. */
export function keysOf({ loss }: TrainingSpec, d_sae: number): number {
	return loss[0].select.kind === "product_keys" ? 2 * Math.round(Math.sqrt(d_sae)) : d_sae;
}
