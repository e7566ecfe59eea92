/**
 * `sae eval stability`: how many latents SAEs of several seeds have in common (Paulo & Belrose 2025, "Sparse
 * autoencoders trained on the same data learn different features"). Latents are matched one to one by their decoder
 * rows, by their encoder columns, and by the mean of both cosines.
 */
import {
	type Context,
	type Core,
	definePlugin,
	type MetricRow,
	type OwnEvaluatorContribution,
	type SaeModel,
} from "saeflow";
import type { z } from "zod";
import { unitRows } from "./recovery/cosines.ts";
import { MAX_MATCHED } from "./recovery/matching.ts";
import {
	boundedMatching,
	cosineOf,
	type Directions,
	exactMatching,
	type Likeness,
	type Matching,
} from "./stability/match.ts";

export default definePlugin({
	name: "eval-stability",
	apiVersion: 1,
	contributes: (core) => [stability(core)],
});

function stabilityOptions({ z }: Core) {
	return z.object({
		sae: z.array(z.string()).min(2).describe("SAEs to compare: each of the others with the first"),
		threshold: z.number().gt(0).max(1).default(0.7).describe("Cosine from which matched latents are shared"),
		max_matched: z
			.int()
			.min(1)
			.default(MAX_MATCHED)
			.describe("Above this many latents MCC is bounded, not found: the best matching takes too long"),
		seed: z.int().min(0).default(0).describe("Seed of the random directions to compare with"),
	});
}

type Options = z.output<ReturnType<typeof stabilityOptions>>;

function stability(core: Core): OwnEvaluatorContribution<Options> {
	return {
		kind: "evaluator",
		name: "stability",
		summary: "how many latents SAEs of several seeds share: matched decoder rows and encoder columns, MCC",
		options: stabilityOptions(core),
		positional: { key: "sae", variadic: true },
		input: "own",
		evaluate: (_, options, context) => evaluate(core, options, context),
	};
}

/** Directions of the latents that have some: one without encoder or decoder is dead for good. */
interface Latents {
	readonly name: string;
	readonly decoder: Directions;
	readonly encoder: Directions;
	readonly empty: number;
}

async function evaluate(core: Core, options: Options, context: Context): Promise<MetricRow[]> {
	const { threshold } = options;
	const models: SaeModel[] = [];
	for (const path of options.sae) models.push(await context.loadSae(path));
	const [first, ...others] = models.map((model, i) => latentsOf(core, options.sae[i]!, model)) as [
		Latents,
		...Latents[],
	];
	for (const other of others) checkWidths(core, first, other);
	const inAll = first.decoder.map(() => true);
	const rows: MetricRow[] = [];
	for (const other of [...others, randomLatents(core, first, options.seed)]) {
		const pair = await compare(first, other, options, context);
		const real = others.includes(other);
		for (const [i, shared] of pair.shared.entries()) if (real) inAll[i] &&= shared;
		rows.push(...pair.rows);
	}
	if (others.length === 1) return rows;
	const nothing = Object.fromEntries(Object.keys(rows[0]!).map((key) => [key, null]));
	const all = { sae: first.name, other: `all ${others.length} others`, by: "both agree", threshold };
	return [...rows, { ...nothing, ...all, latents: first.decoder.length, shared: shareOf(inAll) }];
}

async function compare(
	a: Latents,
	b: Latents,
	{ threshold, max_matched: most }: Options,
	{ signal, log }: Context,
): Promise<{ readonly rows: MetricRow[]; readonly shared: readonly boolean[] }> {
	const [rows, columns] = [a.decoder.length, b.decoder.length];
	const exact = Math.min(rows, columns) <= most && rows * columns <= most ** 2;
	const pause = async (row: number) => {
		await new Promise((resolve) => setImmediate(resolve));
		signal.throwIfAborted();
		if (row > 0) log.progress(`${b.name}: ${row} of ${rows} latents`);
	};
	const match = async (like: Likeness) => {
		await pause(0);
		return exact ? exactMatching(like, rows, columns) : boundedMatching(like, rows, columns, pause);
	};
	const decoder = cosineOf(a.decoder, b.decoder);
	const encoder = cosineOf(a.encoder, b.encoder);
	const both: Likeness = (i, j) => (decoder(i, j) + encoder(i, j)) / 2;
	const byDecoder = await match(decoder);
	const byEncoder = await match(encoder);
	const byBoth = await match(both);
	const closeIn = (likes: readonly Likeness[], { partner }: Matching) =>
		[...partner].map((j, i) => j >= 0 && likes.every((like) => like(i, j) >= threshold));
	const shared = closeIn([decoder, encoder], byDecoder).map(
		(close, i) => close && byDecoder.partner[i] === byEncoder.partner[i],
	);
	const row = (by: string, matching: Matching | undefined, close: readonly boolean[]): MetricRow => ({
		sae: a.name,
		other: b.name,
		by,
		latents: rows,
		other_latents: columns,
		without_direction: a.empty + b.empty,
		matching: exact ? "best" : "mutually nearest",
		mcc: matching && exact ? matching.atLeast : null,
		mcc_at_least: matching?.atLeast ?? null,
		mcc_at_most: matching?.atMost ?? null,
		mean_max_cosine: matching?.forward ?? null,
		mean_max_cosine_back: matching?.back ?? null,
		threshold,
		shared: shareOf(close),
	});
	return {
		shared,
		rows: [
			row("decoder", byDecoder, closeIn([decoder], byDecoder)),
			row("encoder", byEncoder, closeIn([encoder], byEncoder)),
			row("sum of both", byBoth, closeIn([decoder, encoder], byBoth)),
			row("both agree", undefined, shared),
		],
	};
}

function latentsOf(core: Core, name: string, { d_in, d_out = d_in, d_sae, tensors }: SaeModel): Latents {
	const { W_enc, W_dec } = tensors;
	if (!W_enc || !W_dec) throw new core.SaeError(`${name}: has no W_enc and W_dec to compare`);
	const decoder = unitRows({ rows: d_sae, width: d_out, data: W_dec.data });
	const encoder = unitRows({ rows: d_sae, width: d_in, data: core.transposed(W_enc.data, d_in, d_sae) });
	const there = decoder.map(
		(row, i) => row.some((value) => value !== 0) && encoder[i]!.some((value) => value !== 0),
	);
	const kept = (rows: Directions) => rows.filter((_, i) => there[i]);
	const latents = { name, decoder: kept(decoder), encoder: kept(encoder) };
	if (latents.decoder.length === 0) throw new core.SaeError(`${name}: all its latents are zero`);
	return { ...latents, empty: d_sae - latents.decoder.length };
}

/** As many latents, of directions uniform on the sphere: what chance gives. */
function randomLatents(core: Core, { decoder, encoder }: Latents, seed: number): Latents {
	const rows = (like: Directions, label: number) => {
		const random = new core.CounterRng(seed).derive(label);
		const width = like[0]!.length;
		const data = Float64Array.from({ length: like.length * width }, (_, i) => random.normal(i));
		return unitRows({ rows: like.length, width, data });
	};
	return { name: "random", decoder: rows(decoder, 0), encoder: rows(encoder, 1), empty: 0 };
}

function checkWidths(core: Core, a: Latents, b: Latents): void {
	for (const part of ["encoder", "decoder"] as const) {
		const [own, other] = [a[part][0]!.length, b[part][0]!.length];
		if (own === other) continue;
		throw new core.SaeError(`${b.name}: its ${part} has width ${other}, that of ${a.name} has ${own}`);
	}
}

function shareOf(shared: readonly boolean[]): number {
	return shared.filter(Boolean).length / shared.length;
}
