/**
 * `sae eval retrieval`: what sparse codes are worth in a search, against dense vectors that are cut to as many bytes
 * (Wen et al. 2025, "Beyond matryoshka: revisiting sparse coding for adaptive representation").
 */
import {
	type Codes,
	type Context,
	type Core,
	definePlugin,
	type EvaluatorContribution,
	type MetricRow,
	type RecordStream,
	type SaeModel,
} from "saeflow";
import type { z } from "zod";
import { encoded, passOptions } from "./evaluation/encoded.ts";
import { numberList } from "./evaluation/numbers.ts";
import { textColumn } from "./probing/examples.ts";
import { bestRows, idealGain, ndcg, recall } from "./retrieval/ranked.ts";
import {
	codeBytes,
	denseView,
	prefix,
	principalDirections,
	projected,
	randomDirections,
	sparseView,
	type Vectors,
	type View,
} from "./retrieval/views.ts";

/** Rows found for each query. */
const FOUND = 10;
/** Above this width principal directions take too long. */
const MOST_PRINCIPAL = 2048;

export default definePlugin({
	name: "eval-retrieval",
	apiVersion: 1,
	contributes: (core) => [retrieval(core)],
});

function retrievalOptions(core: Core) {
	const { z } = core;
	const { column, limit } = passOptions(core, 20_000);
	return z.object({
		k: numberList(core, z.int().min(1))
			.default([8, 16, 32])
			.meta({ hint: "N,..." })
			.describe("Codes that a row is cut to, the largest"),
		label: z
			.string()
			.optional()
			.meta({ hint: "COLUMN" })
			.describe("Column with the class of each row: rows of the query's class are what is to be found"),
		queries: z
			.string()
			.min(1)
			.optional()
			.meta({ hint: "FILE" })
			.describe("Rows to search with; by default the first --query-rows, which are then not searched"),
		query_rows: z.int().min(1).default(200).meta({ hint: "N" }).describe("Rows to search with"),
		seed: z.int().min(0).default(42).describe("Seed of the random projection"),
		column,
		limit,
	});
}

type Options = z.output<ReturnType<typeof retrievalOptions>>;

function retrieval(core: Core): EvaluatorContribution<Options> {
	return {
		kind: "evaluator",
		name: "retrieval",
		summary: "a search by sparse codes against one by dense vectors of as many bytes: recall, nDCG",
		options: retrievalOptions(core),
		input: "stream",
		evaluate: ({ model, stream }, options, context) => evaluate(core, model, stream!, options, context),
	};
}

/** Rows with their codes and, where a column was named, their classes. */
interface Rows {
	readonly vectors: Vectors;
	readonly codes: Codes;
	readonly labels: readonly string[];
}

async function evaluate(
	core: Core,
	model: SaeModel,
	stream: RecordStream,
	options: Options,
	context: Context,
): Promise<MetricRow[]> {
	const all = await readAll(core, model, stream, options, options.limit, context);
	const [queries, rows] =
		options.queries === undefined
			? [part(all, 0, options.query_rows), part(all, options.query_rows, all.vectors.rows)]
			: [await queriesOf(core, model, options.queries, options, context), all];
	if (rows.vectors.rows <= FOUND) {
		throw new core.SaeError(
			`${rows.vectors.rows} rows are left to search, after ${queries.vectors.rows} queries; more than ${FOUND} are needed`,
		);
	}
	const full = denseView(rows.vectors, queries.vectors);
	const numbers = Array.from({ length: queries.vectors.rows }, (_, query) => query);
	const nearest = numbers.map((query) => bestRows(full.scores(query), FOUND));
	const relevance = options.label === undefined ? undefined : relevanceOf(rows.labels, queries.labels);
	const result: MetricRow[] = [];
	for (const { method, view } of viewsOf(core, rows, queries, model.d_sae, options, context)) {
		await new Promise((resolve) => setImmediate(resolve));
		context.signal.throwIfAborted();
		const found = numbers.map((query) => bestRows(view.scores(query), FOUND));
		result.push({
			method,
			numbers: view.numbers,
			bytes: view.bytes,
			[`recall_at_${FOUND}`]: mean(found.map((own, query) => recall(own, nearest[query]!))),
			...(relevance && byLabel(found, relevance)),
		});
	}
	return [...result, chance(rows.vectors.rows, relevance)];
}

/** Every way to store rows: whole, and for each number of codes these and vectors of as many bytes. */
function* viewsOf(
	core: Core,
	{ vectors, codes }: Rows,
	queries: Rows,
	d_sae: number,
	{ k, seed }: Options,
	{ log }: Context,
): Generator<{ readonly method: string; readonly view: View }> {
	const { width } = vectors;
	yield { method: "dense", view: denseView(vectors, queries.vectors) };
	const counts = [...new Set(k)].sort((a, b) => a - b);
	const dimsOf = (count: number) => Math.min(width, Math.floor(codeBytes(count, d_sae) / 4));
	const most = dimsOf(counts.at(-1)!);
	const random = randomDirections(width, most, new core.CounterRng(seed));
	const principal = width <= MOST_PRINCIPAL ? principalDirections(vectors, most) : undefined;
	if (!principal) log.warn(`no PCA: ${width} dimensions, of at most ${MOST_PRINCIPAL}`);
	const by = (directions: readonly Float64Array[], dims: number) =>
		denseView(projected(vectors, directions, dims), projected(queries.vectors, directions, dims));
	for (const count of counts) {
		const dims = dimsOf(count);
		yield { method: "codes", view: sparseView(codes, queries.codes, count, d_sae) };
		if (principal) yield { method: "pca", view: by(principal, dims) };
		yield { method: "prefix", view: denseView(prefix(vectors, dims), prefix(queries.vectors, dims)) };
		yield { method: "random", view: by(random, dims) };
	}
}

async function queriesOf(
	core: Core,
	model: SaeModel,
	path: string,
	options: Options,
	context: Context,
): Promise<Rows> {
	return readAll(core, model, await core.openArrow(path), options, options.query_rows, context);
}

async function readAll(
	core: Core,
	model: SaeModel,
	stream: RecordStream,
	{ column, k, label }: Options,
	limit: number,
	context: Context,
): Promise<Rows> {
	const most = Math.min(model.d_sae, Math.max(...k));
	// An SAE without a k of its own keeps its codes, and the largest are taken.
	const own = typeof model.settings.k === "number" ? most : undefined;
	const vectors: Float32Array[] = [];
	const codes: Codes[] = [];
	const labels: string[] = [];
	for await (const batch of encoded(core, model, stream, { column, k: own, limit }, context)) {
		vectors.push(batch.inputs.slice());
		codes.push(batch.codes);
		if (label !== undefined) labels.push(...textColumn(core, batch.batch, label));
	}
	const data = new Float32Array(vectors.reduce((sum, { length }) => sum + length, 0));
	let at = 0;
	for (const one of vectors) {
		data.set(one, at);
		at += one.length;
	}
	const width = model.d_in;
	return { vectors: { data, rows: data.length / width, width }, codes: joined(codes), labels };
}

function joined(parts: readonly Codes[]): Codes {
	const rows = parts.reduce((sum, part) => sum + part.rows, 0);
	const offsets = new Uint32Array(rows + 1);
	let row = 0;
	for (const part of parts) {
		for (let r = 0; r < part.rows; r++, row++) {
			offsets[row + 1] = offsets[row]! + part.offsets[r + 1]! - part.offsets[r]!;
		}
	}
	const index = new Uint32Array(offsets[rows]!);
	const value = new Float32Array(offsets[rows]!);
	let entry = 0;
	for (const part of parts) {
		index.set(part.index, entry);
		value.set(part.value, entry);
		entry += part.index.length;
	}
	return { rows, offsets, index, value };
}

/** Rows from `from` to `to` (exclusive), as far as there are any. */
function part({ vectors, codes, labels }: Rows, from: number, to: number): Rows {
	const { data, width } = vectors;
	const [first, last] = [Math.min(from, codes.rows), Math.min(to, codes.rows)];
	const [begin, end] = [codes.offsets[first]!, codes.offsets[last]!];
	return {
		vectors: { data: data.subarray(first * width, last * width), rows: last - first, width },
		codes: {
			rows: last - first,
			offsets: codes.offsets.slice(first, last + 1).map((offset) => offset - begin),
			index: codes.index.subarray(begin, end),
			value: codes.value.subarray(begin, end),
		},
		labels: labels.slice(first, last),
	};
}

/** Which rows are of a query's class, and how many; queries whose class no row has are left out. */
interface Relevance {
	readonly queries: readonly { readonly query: number; readonly label: string; readonly relevant: number }[];
	readonly labels: readonly string[];
}

function relevanceOf(labels: readonly string[], queries: readonly string[]): Relevance {
	const counts = new Map<string, number>();
	for (const label of labels) counts.set(label, (counts.get(label) ?? 0) + 1);
	return {
		labels,
		queries: queries.flatMap((label, query) => {
			const relevant = counts.get(label);
			return relevant === undefined ? [] : [{ query, label, relevant }];
		}),
	};
}

function byLabel(found: readonly Uint32Array[], { queries, labels }: Relevance) {
	const hits = queries.map(({ query, label }) => Array.from(found[query]!, (row) => labels[row] === label));
	return {
		nn_accuracy: mean(hits.map(([first]) => Number(first))),
		[`ndcg_at_${FOUND}`]: mean(hits.map((own, i) => ndcg(own, queries[i]!.relevant))),
		labelled_queries: queries.length,
	};
}

/** What rows in random order give on average. */
function chance(rows: number, relevance: Relevance | undefined): MetricRow {
	return {
		method: "chance",
		numbers: 0,
		bytes: 0,
		[`recall_at_${FOUND}`]: FOUND / rows,
		...(relevance && {
			nn_accuracy: mean(relevance.queries.map(({ relevant }) => relevant / rows)),
			[`ndcg_at_${FOUND}`]: mean(
				relevance.queries.map(
					({ relevant }) => ((relevant / rows) * idealGain(FOUND)) / idealGain(Math.min(relevant, FOUND)),
				),
			),
			labelled_queries: relevance.queries.length,
		}),
	};
}

function mean(values: readonly number[]): number | null {
	return values.length === 0 ? null : values.reduce((sum, value) => sum + value, 0) / values.length;
}
