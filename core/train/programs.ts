/** From a batch that is laid out to what the GPU does for a step. */
import type { Around, Dispatch } from "../../kernels/program.ts";
import type { Chunk } from "../gpu/encoder.ts";
import type { Round, SelectDispatches } from "../gpu/select.ts";
import { varying } from "./buffers.ts";
import { type Batch, gather, type Part, scatter } from "./micro-batches.ts";
import { derivePhase, skipGradientPhase, skipPhase } from "./phases/dense.ts";
import { chunksOf, decodePhase, encodePhase, slopePhase } from "./phases/forward.ts";
import {
	biasGradientPhase,
	collecting,
	collectPhase,
	derivedGradientPhase,
	revivePhase,
	rowSumPhase,
} from "./phases/gradients.ts";
import { livenessPhase } from "./phases/liveness.ts";
import { deviationPhase, lossPhase, reportVariance, spreadPhase } from "./phases/loss.ts";
import { transposePhase } from "./phases/transpose.ts";
import { clipPhase, updatePhase } from "./phases/update.ts";
import type { Work } from "./work.ts";

/** A pass over the batch: every micro-batch arrives and is worked on, then the batch as a whole. */
export interface Pass {
	/** Set to zeros before. */
	readonly clear: readonly GPUBuffer[];
	readonly parts: readonly (Part & { readonly dispatches: readonly Dispatch[]; readonly around: Around })[];
	readonly whole: readonly Dispatch[];
}

export interface Programs {
	readonly training: readonly Pass[];
	/** Training, with the variance of the batch. */
	readonly measuring: readonly Pass[];
	/** The first term's figures. */
	readonly evaluating: readonly Pass[];
	/** From parameters that were written to those that are made of them. */
	readonly deriving: readonly Dispatch[];
}

export function compile(batch: Batch): Programs {
	const { whole } = batch;
	return {
		...(whole.common ? compileParts(batch) : compileWhole(batch)),
		deriving: derivePhase(whole),
	};
}

/** Everything in one pass. */
function compileWhole({ whole: work, parts: [part] }: Batch): Omit<Programs, "deriving"> {
	const chunks = chunksOf(work);
	const pass = (dispatches: readonly Dispatch[]): Pass[] => [
		{ clear: [], parts: [{ ...part!, dispatches, around: {} }], whole: [] },
	];
	const forward = (work: Work) => {
		const { norms, prepare, chunks: encode, rounds, codes, bounds } = encodePhase(work, chunks);
		const every = rounds.flatMap(({ each, after }) => [...each, ...after]);
		const dispatches = [
			...[...prepare, ...norms, ...encode, ...every, ...codes],
			...[...skipPhase(work), ...decodePhase(work)],
		];
		return { dispatches, bounds };
	};
	const { dispatches, bounds } = forward(work);
	const training = [
		...dispatches,
		...(varying(work).includes("residual") ? deviationPhase(work, "residual") : []),
		...lossPhase(work, ownNeeds(work)),
		...backward(work),
		...finish(work, bounds),
	];
	const looking = lookingAt(work);
	return {
		training: pass(training),
		measuring: pass([...training, ...deviationPhase(work, "target"), reportVariance(work)]),
		evaluating: pass([...forward(looking).dispatches, ...lossPhase(looking, ownNeeds(looking))]),
	};
}

/**
 * In passes: what selections of the whole batch need to know, one pass for each round; the loss, which decides how much
 * every error counts; then, from codes that are computed again, gradients.
 */
function compileParts(batch: Batch): Omit<Programs, "deriving"> {
	const { whole, parts } = batch;
	const [rows, count] = [parts[0]!.work.shape.rows, parts.length];
	const needs = { first: 0, count };
	// The last micro-batch comes after the others, whose memory it uses.
	const kinds = [...new Set(parts.map(({ work }) => work))];
	const programs = new Map(kinds.map((work) => [work, partPrograms(work, whole, chunksOf(work))]));
	const looks = new Map(
		kinds.map((work) => {
			const looking = lookingAt({ ...work, ...work.again() });
			return [work, partPrograms(looking, whole, programs.get(work)!.memory)];
		}),
	);
	const first = programs.get(kinds[0]!)!;
	const pass = (
		of: typeof programs,
		chosen: (program: PartPrograms) => readonly Dispatch[],
		more: Partial<Pick<Pass, "clear" | "whole">> & { readonly around?: (part: Part) => Around },
	): Pass => ({
		clear: more.clear ?? [],
		parts: parts.map((part) => ({
			...part,
			dispatches: chosen(of.get(part.work)!),
			around: more.around?.(part) ?? {},
		})),
		whole: more.whole ?? [],
	});
	const rounds = (of: typeof programs): Pass[] =>
		first.rounds.map(({ after }, r) => pass(of, (program) => program.rounds[r]!.each, { whole: after }));
	const gathering = (of: typeof programs) => (part: Part) => ({
		after: gather(batch, part, of.get(part.work)!.needed),
	});
	const norms: Pass = { clear: [], parts: [], whole: first.norms };
	const training = (measured: boolean): Pass[] => [
		norms,
		...rounds(programs),
		pass(programs, ({ forward, measure }) => [...forward, ...(measured ? measure : [])], {
			clear: first.running,
			around: gathering(programs),
			whole: [
				...(varying(whole).includes("residual") ? [spreadPhase(whole, "residual", rows)] : []),
				...lossPhase(whole, needs),
				...(measured ? [spreadPhase(whole, "target", rows), reportVariance(whole)] : []),
			],
		}),
		pass(programs, ({ forward, gradients }) => [...forward, ...gradients], {
			clear: [...first.running, ...collecting(whole)],
			around: (part) => ({ before: scatter(batch, part) }),
			whole: finish(whole, first.bounds),
		}),
	];
	const looking = lookingAt(whole);
	return {
		training: training(false),
		measuring: training(true),
		evaluating: [
			norms,
			...rounds(looks),
			pass(looks, ({ forward }) => forward, {
				clear: first.running,
				around: gathering(looks),
				whole: lossPhase(looking, needs),
			}),
		],
	};
}

interface PartPrograms {
	readonly memory: readonly Chunk[];
	readonly norms: readonly Dispatch[];
	readonly rounds: readonly Round[];
	readonly forward: readonly Dispatch[];
	readonly measure: readonly Dispatch[];
	/** After another pass forward. */
	readonly gradients: readonly Dispatch[];
	/** Where the carry says how much room codes need. */
	readonly needed: number;
	readonly bounds: SelectDispatches["bounds"];
	readonly running: readonly GPUBuffer[];
}

function partPrograms(work: Work, whole: Work, memory: readonly Chunk[]): PartPrograms {
	const { norms, prepare, products, chunks, rounds, codes, bounds, running } = encodePhase(work, memory);
	return {
		memory,
		norms,
		rounds: rounds.map(({ each, after }) => ({ each: [...prepare, ...products, ...each], after })),
		forward: [
			...[...prepare, ...chunks, ...codes, ...skipPhase(work), ...decodePhase(work)],
			...(varying(work).includes("residual") ? deviationPhase(work, "residual") : []),
		],
		measure: deviationPhase(work, "target"),
		gradients: [...backward(work), ...collectPhase(work, whole)],
		needed: work.slots.count,
		bounds,
		running,
	};
}

/** From errors to gradients by latent, and to sums over rows. */
function backward(work: Work): Dispatch[] {
	return [...slopePhase(work), ...transposePhase(work), ...rowSumPhase(work), ...skipGradientPhase(work)];
}

/** What is left when all rows are done. */
function finish(work: Work, bounds: SelectDispatches["bounds"]): Dispatch[] {
	return [
		...revivePhase(work),
		...biasGradientPhase(work),
		...derivedGradientPhase(work),
		...(work.shape.clip ? clipPhase(work) : []),
		...updatePhase(work),
		...livenessPhase(work, bounds),
	];
}

/** The first term alone, on float32 rows. */
function lookingAt(work: Work): Work {
	const [first] = work.terms;
	return {
		...work,
		shape: { ...work.shape, format: "float32", tilted: false },
		terms: [first!],
		codeRows: first!.parts * work.shape.rows,
		slots: { count: 0 },
	};
}

function ownNeeds({ slots }: Work): { first: number; count: number } {
	return { first: slots.count, count: 1 };
}
