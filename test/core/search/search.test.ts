import { describe, expect, test } from "bun:test";
import { Field, List, type RecordBatch, Schema, Struct, Uint8, Utf8, vectorFromArray } from "apache-arrow";
import { makeBatch } from "../../../core/arrow/batch.ts";
import { codesOf } from "../../../core/arrow/codes.ts";
import { encodeStream } from "../../../core/latents.ts";
import { parseEdit } from "../../../core/model/edits.ts";
import { codeCosines, cosines, weightedActivations } from "../../../core/search/score.ts";
import { type Query, queryRow, type SearchOptions, searchStream } from "../../../core/search/search.ts";
import { latentsOf, steerCodes, steerVector } from "../../../core/search/steer.ts";
import { parseWeights } from "../../../core/search/weights.ts";
import { each, META, type RecordStream } from "../../../core/stream.ts";
import { identitySae, labelledStream } from "../../plugins/labelled.ts";
import { referenceRuntime } from "../../reference/context.ts";
import { randomStream } from "../../reference/models.ts";

const CONCEPTS = 16;
const ACTIVE = 4;
const random = randomStream(4);
/** Each document has four of the concepts, to different degrees, and a little of everything. */
const documents = Array.from({ length: 3000 }, () => {
	const row = Array.from({ length: CONCEPTS }, () => random() * 0.1 - 0.05);
	for (let n = 0; n < ACTIVE; n++) row[Math.floor(random() * CONCEPTS)]! += 0.75 + random() * 0.5;
	return row;
});
const texts = documents.map((_, i) => `text ${i}`);
const sae = identitySae(CONCEPTS, ACTIVE);
const runtime = referenceRuntime(sae, ACTIVE);
const stream = (size = 64, rows = documents) =>
	labelledStream(rows, { text: texts.slice(0, rows.length) }, size);
const encodedStream = (keepActivations = false) =>
	encodeStream(stream(), sae, runtime, { keepActivations, command: "sae encode" });

interface Found {
	readonly rank: number;
	readonly score: number;
	readonly row: number;
	readonly text: string;
	readonly latents: Record<number, number>;
}

async function found(
	input: RecordStream,
	query: Query,
	options: Partial<SearchOptions> = {},
	encode = true,
): Promise<Found[]> {
	const encoder = async () => {
		if (!encode) throw new Error("nothing is to be encoded");
		return runtime;
	};
	const result = await searchStream(input, sae, encoder, query, { top: 10, listed: new Set(), ...options });
	const [batch] = await Array.fromAsync(result.batches);
	const codes = codesOf(batch!);
	return Array.from({ length: batch!.numRows }, (_, i) => {
		const own = Array.from(codes.index.keys()).slice(codes.offsets[i], codes.offsets[i + 1]);
		return {
			...(Object.fromEntries(
				["rank", "score", "row", "text"].map((name) => [name, batch!.getChild(name)?.get(i)]),
			) as unknown as Omit<Found, "latents">),
			latents: Object.fromEntries(own.map((entry) => [codes.index[entry]!, codes.value[entry]!])),
		};
	});
}

const weights = (text: string): Query => ({ by: "weights", latents: parseWeights(text) });

describe("a search by latents", () => {
	/** By definition: all scores, sorted. */
	const best = (scoreOf: (row: readonly number[]) => number, top: number) =>
		documents
			.map((row, i) => ({ i, score: scoreOf(kept(row)) }))
			.filter(({ score }) => score !== 0)
			.sort((a, b) => b.score - a.score || a.i - b.i)
			.slice(0, top);
	/** What TopK leaves of a row. */
	const kept = (row: readonly number[]) => {
		const least = row.toSorted((a, b) => b - a)[ACTIVE - 1]!;
		return row.map((value) => (value >= least ? Math.fround(value) : 0));
	};

	test("finds where they are most active, with their activations and the other columns", async () => {
		const expected = best((row) => row[12]!, 10);
		for (const size of [64, 3000, 1]) {
			const rows = await found(stream(size, documents), weights("12"), { listed: new Set([12]) });
			expect(rows.map(({ row }) => row)).toEqual(expected.map(({ i }) => i));
			expect(rows.map(({ rank }) => rank)).toEqual([1, 2, 3, 4, 5, 6, 7, 8, 9, 10]);
			for (const [place, { score, row, text, latents }] of rows.entries()) {
				expect(score).toBeCloseTo(expected[place]!.score, 6);
				expect(latents).toEqual({ 12: score });
				expect(text).toBe(`text ${row}`);
			}
		}
	});

	test("weighs them, and needs no SAE on a device where rows are encoded", async () => {
		const expected = best((row) => 2 * row[12]! - row[3]!, 50).map(({ i }) => i);
		const options = { top: 50, listed: new Set([3, 12]) };
		const rows = await found(stream(), weights("12:2,3:-1"), options);
		expect(rows.map(({ row }) => row)).toEqual(expected);
		expect(await found(encodedStream(), weights("12:2,3:-1"), options, false)).toEqual(rows);
	});

	test("leaves out rows where none is active, and takes the lower of equal rows first", async () => {
		const rows = [0, 2, 0, 1, 2, 2, 1].map((value) => [value, 1]);
		const two = identitySae(2, 2);
		const all = async (top: number) => {
			const result = await searchStream(
				labelledStream(rows, {}, 2),
				two,
				async () => referenceRuntime(two, 2),
				weights("0"),
				{ top, listed: new Set() },
			);
			const [batch] = await Array.fromAsync(result.batches);
			return [...batch!.getChild("row")!];
		};
		expect(await all(10)).toEqual([1, 4, 5, 3, 6]);
		expect(await all(2)).toEqual([1, 4]);
		expect(await all(4)).toEqual([1, 4, 5, 3]);
	});
});

describe("a search by a query", () => {
	const query = (number: number) => queryRow(stream(), sae, async () => runtime, number);

	test("finds the nearest rows by cosine, but not the query", async () => {
		const { vector } = await query(77);
		const norm = (row: readonly number[]) => Math.hypot(...row);
		const own = documents[77]!;
		const expected = documents
			.map((row, i) => ({
				i,
				cosine: row.reduce((sum, value, d) => sum + value * own[d]!, 0) / norm(row) / norm(own),
			}))
			.filter(({ i }) => i !== 77)
			.sort((a, b) => b.cosine - a.cosine)
			.slice(0, 10);
		const rows = await found(stream(), { by: "vector", vector: vector! }, { except: 77 });
		expect(rows.map(({ row }) => row)).toEqual(expected.map(({ i }) => i));
		for (const [place, { score }] of rows.entries()) expect(score).toBeCloseTo(expected[place]!.cosine, 5);
		const [itself] = await found(stream(), { by: "vector", vector: vector! }, { top: 1 });
		expect(itself!.row).toBe(77);
		expect(itself!.score).toBeCloseTo(1, 6);
	});

	test("by codes gives the same for activations and for latents", async () => {
		const { codes } = await query(5);
		const asked: Query = { by: "codes", latents: latentsOf(codes) };
		const rows = await found(stream(), asked, { listed: new Set(codes.index) });
		expect(rows[0]!.row).toBe(5);
		expect(rows[0]!.score).toBeCloseTo(1, 6);
		expect(rows[0]!.latents).toEqual(Object.fromEntries(latentsOf(codes)));
		expect(await found(encodedStream(), asked, { listed: new Set(codes.index) }, false)).toEqual(rows);
		const encoded = await queryRow(encodedStream(), sae, () => Promise.reject(new Error()), 5);
		expect(encoded.codes).toEqual(codes);
		expect(encoded.vector).toBeUndefined();
		const both = await queryRow(encodedStream(true), sae, () => Promise.reject(new Error()), 5);
		expect(both.vector).toEqual((await query(5)).vector);
	});

	test("steered towards a concept, most of what is found has it, and the query stays near", async () => {
		const concept = 7;
		const holds = (row: number) => documents[row]![concept]! > 0.3;
		const queries = [...documents.keys()].filter((row) => !holds(row)).slice(0, 20);
		const shares: Record<string, number[]> = { before: [], keep: [], drop: [], codes: [] };
		for (const number of queries) {
			const { vector, codes } = await query(number);
			const steered = steerCodes(codes, [parseEdit("clamp", `${concept}=1.2`)]);
			expect(steered.index.length).toBe(ACTIVE);
			const share = async (asked: Query) => {
				const rows = await found(stream(1000), asked, { except: number });
				return rows.filter(({ row }) => holds(row)).length / 10;
			};
			shares.before!.push(await share({ by: "vector", vector: vector! }));
			shares.codes!.push(await share({ by: "codes", latents: latentsOf(steered) }));
			for (const error of ["keep", "drop"] as const) {
				const changed = await steerVector(runtime, vector!, codes, steered, error);
				expect(cosines(vector!, changed)[0]).toBeGreaterThan(0.7);
				shares[error]!.push(await share({ by: "vector", vector: changed }));
			}
		}
		const mean = (values: readonly number[]) => values.reduce((a, b) => a + b) / values.length;
		expect(mean(shares.before!)).toBeLessThan(0.3);
		for (const way of ["keep", "drop", "codes"]) expect(mean(shares[way]!)).toBeGreaterThan(0.8);
	});
});

describe("steering", () => {
	const codes = {
		rows: 1,
		offsets: Uint32Array.of(0, 3),
		index: Uint32Array.of(1, 4, 6),
		value: Float32Array.of(2, 1, 0.5),
	};
	const steered = (...edits: (readonly ["ablate" | "clamp" | "scale" | "add", string])[]) =>
		Object.fromEntries(
			latentsOf(
				steerCodes(
					codes,
					edits.map(([kind, text]) => parseEdit(kind, text)),
				),
			),
		);

	test("keeps as many latents as there were, the largest", () => {
		expect(steered(["clamp", "3=10"])).toEqual({ 1: 2, 3: 10, 4: 1 });
		expect(steered(["ablate", "1"])).toEqual({ 4: 1, 6: 0.5 });
		expect(steered(["scale", "6=-3"])).toEqual({ 1: 2, 4: 1, 6: -1.5 });
		expect(steered(["add", "4=1"], ["add", "0=0.25"])).toEqual({ 1: 2, 4: 2, 6: 0.5 });
		// Of equal ones the lower latent.
		expect(steered(["clamp", "5=0.5"])).toEqual({ 1: 2, 4: 1, 5: 0.5 });
		expect(steered()).toEqual({ 1: 2, 4: 1, 6: 0.5 });
	});

	test("of a query without latents has room for what is set", () => {
		const empty = {
			rows: 1,
			offsets: new Uint32Array(2),
			index: new Uint32Array(),
			value: new Float32Array(),
		};
		expect(latentsOf(steerCodes(empty, [parseEdit("clamp", "3=1")]))).toEqual(new Map([[3, 1]]));
	});

	test("that changes nothing leaves the query as it is, unless its error is dropped", async () => {
		const { vector, codes: own } = await queryRow(stream(), sae, async () => runtime, 3);
		expect(await steerVector(runtime, vector!, own, steerCodes(own, []), "keep")).toEqual(vector!);
		const decoded = await runtime.decode(own);
		expect(await steerVector(runtime, vector!, own, own, "drop")).toEqual(decoded);
	});
});

describe("scores", () => {
	const codes = {
		rows: 3,
		offsets: Uint32Array.of(0, 2, 2, 4),
		index: Uint32Array.of(0, 2, 1, 2),
		value: Float32Array.of(3, 4, 1, 0),
	};

	test("are sums and cosines by their definition, 0 for rows of zeros, none where no latent is active", () => {
		expect([...weightedActivations(codes, parseWeights("2:0.5,0:-1"))]).toEqual([-1, Number.NaN, Number.NaN]);
		const query = new Map([
			[0, 1],
			[1, 1],
		]);
		const [first, empty, last] = codeCosines(codes, query);
		expect(first).toBeCloseTo(3 / 5 / Math.SQRT2, 12);
		expect(empty).toBe(0);
		expect(last).toBeCloseTo(1 / Math.SQRT2, 12);
		expect([...cosines(Float32Array.of(3, 4, 0, 0, -1, 0), Float32Array.of(2, 0))]).toEqual([0.6, 0, -1]);
		expect([...cosines(Float32Array.of(3, 4), Float32Array.of(0, 0))]).toEqual([0]);
	});

	test("weights are read strictly", () => {
		expect(parseWeights("12:2.0, 40:-1,3")).toEqual(
			new Map([
				[12, 2],
				[40, -1],
				[3, 1],
			]),
		);
		for (const bad of ["", "a", "1:", "1:x", "1,,2", "-1", "1:2:3"]) {
			expect(() => parseWeights(bad)).toThrow("write LATENT or LATENT:WEIGHT");
		}
		expect(() => parseWeights("1,1:2")).toThrow("names 1 twice");
	});
});

describe("what is found", () => {
	test("says what it is of, and by which commands", async () => {
		const encoded = encodedStream();
		const result = await searchStream(encoded, sae, async () => runtime, weights("12"), {
			top: 3,
			listed: new Set(),
			command: "sae search SAE",
		});
		expect(result.schema.fields.map(({ name }) => name)).toEqual(["rank", "score", "row", "latents", "text"]);
		expect(result.schema.metadata.get(META.kind)).toBe("metrics");
		expect(result.schema.metadata.get(META.command)).toBe("sae encode | sae search SAE");
	});

	/** The first documents, with a further column. */
	async function withColumn(name: string, column: Schema["fields"][number]["type"], values: unknown[]) {
		const [first] = await Array.fromAsync(stream(values.length, documents.slice(0, values.length)).batches);
		const data = vectorFromArray(values as never[], column).data[0]!;
		const schema = new Schema([...first!.schema.fields, new Field(name, column)], first!.schema.metadata);
		const batch: RecordBatch = makeBatch(schema, values.length, [...first!.data.children, data]);
		return { schema, batches: each([batch]) };
	}

	test("leaves out columns of structs, and keeps lists", async () => {
		const structs = await withColumn("extra", new Struct<{ a: Uint8 }>([new Field("a", new Uint8())]), [
			{ a: 1 },
			{ a: 2 },
		]);
		const options = { top: 2, listed: new Set<number>() };
		const vector = Float32Array.from(documents[0]!);
		const names = async (input: RecordStream) =>
			(
				await searchStream(input, sae, async () => runtime, { by: "vector", vector }, options)
			).schema.fields.map(({ name }) => name);
		expect(await names(structs)).toEqual(["rank", "score", "row", "latents", "text"]);
		const lists = await withColumn("ids", new List(new Field("item", new Uint8(), false)), [[1], [2, 3]]);
		expect(await names(lists)).toEqual(["rank", "score", "row", "latents", "text", "ids"]);
	});

	test("must not have a name twice", async () => {
		const scored = await withColumn("score", new Utf8(), ["a", "b"]);
		await expect(found(scored, weights("12"))).rejects.toThrow("the stream has a column score");
	});
});

describe("refuses", () => {
	test("rows and latents that are not there", async () => {
		await expect(queryRow(stream(), sae, async () => runtime, 3000)).rejects.toThrow(
			"there is no row 3000 to search with: the stream has 3000, from 0",
		);
		await expect(found(labelledStream([]), weights("1"))).rejects.toThrow("no rows to search");
		const other = identitySae(8, 4);
		const result = searchStream(encodedStream(), other, async () => runtime, weights("1"), {
			top: 1,
			listed: new Set(),
		});
		await expect(result).rejects.toThrow("this SAE has 8; was it another that encoded?");
		const vector = Float32Array.from(documents[0]!);
		await expect(found(encodedStream(), { by: "vector", vector })).rejects.toThrow("no column");
	});
});
