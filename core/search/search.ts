/** `sae search`: the rows of a stream that answer a query of latents or of an embedding best. */
import { DataType, type Field, type RecordBatch, Schema } from "apache-arrow";
import { makeBatch, sliceBatch } from "../arrow/batch.ts";
import { codesOf } from "../arrow/codes.ts";
import { fixedWidth } from "../arrow/load.ts";
import { SaeError } from "../errors.ts";
import { widened } from "../files/dtype.ts";
import { checkCodes } from "../latents.ts";
import type { SaeRuntime } from "../runtime.ts";
import type { Codes, SaeModel } from "../sae.ts";
import { type SaeReader, type SaeRows, type SaeShape, saeReader } from "../sae-rows.ts";
import type { RecordStream } from "../stream.ts";
import { foundRows } from "./found.ts";
import { Ranking } from "./ranking.ts";
import { codeCosines, cosines, type Latents, weightedActivations } from "./score.ts";

/** What rows are compared with: weights of latents, a row's codes, or a vector [d_in]. */
export type Query =
	| { readonly by: "weights" | "codes"; readonly latents: Latents }
	| { readonly by: "vector"; readonly vector: Float32Array };

export interface SearchOptions {
	/** Rows to find. */
	readonly top: number;
	/** Latents whose activations are given with each row found. */
	readonly listed: ReadonlySet<number>;
	/** Number of a row of the stream that is no result, such as the query itself. */
	readonly except?: number | undefined;
	/** Columns of vectors, side by side; by default those of the SAE's metadata, or the only one there is. */
	readonly columns?: readonly string[] | undefined;
	/** The command that does this, for the result's provenance. */
	readonly command?: string;
	/** Called after each batch with the rows so far; what it throws ends the search. */
	seen?(rows: number): void;
}

type Sae = SaeShape & Pick<SaeModel, "d_sae">;
type Encoder = Pick<SaeRuntime, "encode">;

/** One row of a stream, as a query. */
export interface QueryRow {
	/** [d_in]; none where a latents stream lacks its activations. */
	readonly vector: Float32Array | undefined;
	readonly codes: Codes;
}

/** Whether a stream's rows are encoded already. */
export function isEncoded({ schema }: RecordStream): boolean {
	return schema.fields.some(({ name }) => name === "latents");
}

/**
 * The rows with the highest scores, best first, in one pass: Σ weight · activation, without rows in which none of the
 * latents is active, or the cosine with the query's codes or vector. Memory: a batch, and the rows found.
 *
 * @param encoder makes the latents of rows that are not encoded yet; only then it is asked for.
 * @returns `rank` from 1, `score`, `row` (its number in the stream from 0), `latents` (activations of those listed), and
 *   the stream's other columns.
 * @throws SaeError when the stream lacks what the query needs.
 * @example
 * const query = { by: "weights", latents: new Map([[12, 1]]) } as const;
 * const options = { top: 10, listed: new Set([12]) };
 * const found = await searchStream(stream, sae, () => openSae(sae), query, options);
 */
export async function searchStream(
	stream: RecordStream,
	sae: Sae,
	encoder: () => Promise<Encoder>,
	query: Query,
	options: SearchOptions,
): Promise<RecordStream> {
	const rows = rowReader(stream, sae, encoder, options.columns);
	const ranking = new Ranking<Codes | undefined>(options.top);
	for await (const batch of stream.batches) {
		if (batch.numRows === 0) continue;
		const { vectors, codes } = rows(batch);
		const scores = await scoresOf(query, vectors, codes);
		const own = (options.except ?? -1) - ranking.rows;
		if (own >= 0 && own < scores.length) scores[own] = Number.NaN;
		// Only what is encoded has to be kept so: the rest is encoded once it is known which rows are found.
		const encoded = isEncoded(stream) ? await codes() : undefined;
		ranking.add(carriedColumns(batch), scores, (row) => encoded && rowOf(encoded, row));
		options.seen?.(ranking.rows);
	}
	if (ranking.rows === 0) throw new SaeError("the stream has no rows to search");
	const codes = isEncoded(stream)
		? ranking.ranked.map(({ extra }) => extra!)
		: await rows(ranking.columns!)
				.codes()
				.then((all) => ranking.ranked.map((_, place) => rowOf(all, place)));
	// Vectors that were encoded are no part of the result, as they are none of a latents stream.
	const dropped = isEncoded(stream) ? [] : saeReader(stream.schema, sae, options).inputs;
	return foundRows(stream.schema, ranking, codes, { ...options, dropped });
}

/** Columns whose rows can be taken out one by one; the encoded latents are kept by themselves. */
export function isCarried({ name, type }: Field): boolean {
	if (name === "latents" || DataType.isStruct(type) || DataType.isUnion(type) || DataType.isMap(type)) {
		return false;
	}
	const item: DataType | undefined = type.children?.[0]?.type;
	return !item || fixedWidth(item) !== undefined;
}

/** The row of that number, as a query. @throws SaeError for a number that the stream lacks. */
export async function queryRow(
	stream: RecordStream,
	sae: Sae,
	encoder: () => Promise<Encoder>,
	number: number,
	columns?: readonly string[] | undefined,
): Promise<QueryRow> {
	const rows = rowReader(stream, sae, encoder, columns);
	let before = 0;
	for await (const batch of stream.batches) {
		if (number < before + batch.numRows) {
			const one = rows(sliceBatch(batch, number - before, number - before + 1));
			return {
				vector: hasVectors(stream, sae, columns) ? one.vectors() : undefined,
				codes: await one.codes(),
			};
		}
		before += batch.numRows;
	}
	throw new SaeError(`there is no row ${number} to search with: the stream has ${before}, from 0`);
}

/** Whether rows can be compared as vectors. */
export function hasVectors(stream: RecordStream, sae: SaeShape, columns?: readonly string[]): boolean {
	if (!isEncoded(stream)) return true;
	try {
		return saeReader(stream.schema, sae, { columns }) !== undefined;
	} catch {
		return false;
	}
}

interface SearchedRows {
	/** [rows, d_in]. */
	vectors(): Float32Array;
	codes(): Promise<Codes>;
}

/** How the rows of a batch are read, each part of them only once it is asked for. */
function rowReader(
	stream: RecordStream,
	sae: Sae,
	encoder: () => Promise<Encoder>,
	columns: readonly string[] | undefined,
): (batch: RecordBatch) => SearchedRows {
	let reader: SaeReader | undefined;
	return (batch) => {
		let inputs: SaeRows["inputs"] | undefined;
		const read = () => {
			reader ??= saeReader(stream.schema, sae, { columns });
			inputs ??= reader.read(batch).inputs;
			return inputs;
		};
		return {
			vectors: () => widened(read()),
			async codes() {
				if (!isEncoded(stream)) return (await encoder()).encode(read(), batch.numRows);
				const codes = codesOf(batch);
				checkCodes(codes, sae.d_sae);
				return codes;
			},
		};
	};
}

async function scoresOf(
	query: Query,
	vectors: () => Float32Array,
	codes: () => Promise<Codes>,
): Promise<Float64Array> {
	if (query.by === "vector") return cosines(vectors(), query.vector);
	return (query.by === "weights" ? weightedActivations : codeCosines)(await codes(), query.latents);
}

/** The columns that rows found keep. */
function carriedColumns(batch: RecordBatch): RecordBatch {
	const { schema } = batch;
	const places = [...schema.fields.keys()].filter((i) => isCarried(schema.fields[i]!));
	const fields = places.map((i) => schema.fields[i]!);
	const carried = new Schema(fields, schema.metadata);
	return makeBatch(
		carried,
		batch.numRows,
		places.map((i) => batch.data.children[i]!),
	);
}

/** One row's codes, copied. */
function rowOf({ offsets, index, value }: Codes, row: number): Codes {
	const [from, to] = [offsets[row]!, offsets[row + 1]!];
	return {
		rows: 1,
		offsets: Uint32Array.of(0, to - from),
		index: index.slice(from, to),
		value: value.slice(from, to),
	};
}
