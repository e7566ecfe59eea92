import { describe, expect, test } from "bun:test";
import {
	type Data,
	Field,
	FixedSizeList,
	Float32,
	Float64,
	List,
	makeData,
	type RecordBatch,
	Schema,
	Struct,
	Table,
	Utf8,
	Utf8View,
	type Vector,
	vectorFromArray,
} from "apache-arrow";
import { activationsBatch, activationsSchema } from "../../../core/arrow/activations.ts";
import { makeBatch, sliceBatch } from "../../../core/arrow/batch.ts";
import { codesOf, latentsBatch, latentsSchema } from "../../../core/arrow/codes.ts";
import { columnTypes, tableBatch, tableSchema } from "../../../core/arrow/metrics.ts";
import { takeRows } from "../../../core/arrow/take.ts";
import { findVectorField, vectorColumn } from "../../../core/arrow/vectors.ts";
import { allBatches, bytesOf, countingStream, readBytes } from "../streams.ts";

const f32 = new Field("item", new Float32(), true);
const f64 = new Field("item", new Float64(), true);

function batchOf(columns: Record<string, Vector>): RecordBatch {
	return new Table(columns).batches[0]!;
}

describe("activations", () => {
	test("are built over the given array, and taken out again, without a copy", () => {
		const data = Float32Array.of(1, 2, 3, 4, 5, 6);
		const schema = activationsSchema({ width: 3, type: "float32" });
		const vectors = vectorColumn(
			activationsBatch(schema, { data, rows: 2, width: 3, type: "float32" }),
			"activation",
		);
		expect(vectors.data.buffer).toBe(data.buffer);
		expect(vectors).toEqual({ data, rows: 2, width: 3, type: "float32" });
	});

	test("slices keep their place", async () => {
		const [batch] = await allBatches(countingStream([6], { type: "float16" }));
		const vectors = vectorColumn(sliceBatch(batch!, 2, 4), "activation");
		expect([...new Float16Array(vectors.data.slice().buffer)]).toEqual([
			2, 2.25, 2.5, 2.75, 3, 3.25, 3.5, 3.75,
		]);
	});

	test("a wrong width or a missing column is refused", () => {
		const schema = activationsSchema({ width: 3, type: "float32", columns: ["token"] });
		const vectors = { data: new Float32Array(6), rows: 2, width: 3, type: "float32" } as const;
		expect(() => activationsBatch(schema, vectors)).toThrow("column token needs 2 values, but has none");
		expect(() => activationsBatch(schema, { ...vectors, width: 2 })).toThrow("for 2 rows of 2 were given");
	});
});

describe("vectorColumn", () => {
	test("converts float64 and takes lists of one length", () => {
		const lists = vectorFromArray(
			[
				[1, 2],
				[3, 4],
			],
			new List(f64),
		);
		expect(vectorColumn(batchOf({ x: lists }), "x")).toEqual({
			data: Float32Array.of(1, 2, 3, 4),
			rows: 2,
			width: 2,
			type: "float32",
		});
		const sliced = vectorColumn(sliceBatch(batchOf({ x: lists }), 1), "x");
		expect([...sliced.data]).toEqual([3, 4]);
	});

	const bad: [string, RecordBatch, string, string][] = [
		[
			"a missing column",
			batchOf({ x: vectorFromArray([[1]], new List(f32)) }),
			"y",
			"no column y; the stream has: x",
		],
		["text", batchOf({ x: vectorFromArray(["a"], new Utf8()) }), "x", "column x: is Utf8; vectors are"],
		[
			"a null row",
			batchOf({ x: vectorFromArray([[1], null], new FixedSizeList(1, f32)) }),
			"x",
			"column x: holds nulls",
		],
		[
			"a null value",
			batchOf({ x: vectorFromArray([[1, null]], new List(f32)) }),
			"x",
			"column x: holds nulls",
		],
		[
			"rows of two lengths",
			batchOf({ x: vectorFromArray([[1, 2], [3]], new List(f32)) }),
			"x",
			"row 1 has 1 values, the first one 2",
		],
	];
	test.each(bad)("%s is a clear error", (_, batch, column, message) => {
		expect(() => vectorColumn(batch, column)).toThrow(message);
	});

	test("the column is found without a name where that is safe", () => {
		const list = new FixedSizeList(2, f32);
		const field = (name: string) => new Field(name, list);
		expect(findVectorField(new Schema([field("a")])).name).toBe("a");
		expect(findVectorField(new Schema([field("a"), field("activation")])).name).toBe("activation");
		expect(() => findVectorField(new Schema([field("a"), field("b")]))).toThrow(
			"several columns hold vectors (a, b)",
		);
		expect(() => findVectorField(new Schema([new Field("t", new Utf8())]))).toThrow("there are: t (Utf8)");
	});
});

describe("latents", () => {
	const codes = {
		rows: 3,
		offsets: Uint32Array.of(0, 2, 2, 3),
		index: Uint32Array.of(4, 9, 1),
		value: Float32Array.of(0.5, -1, 2),
	};

	test("come back as they went, with the rows' other columns", async () => {
		const [source] = await allBatches(countingStream([3]));
		const schema = latentsSchema([source!.schema.fields[1]!]);
		async function* batches() {
			yield latentsBatch(schema, codes, source);
		}
		const [read] = await allBatches(await readBytes(await bytesOf({ schema, batches: batches() })));
		expect(codesOf(read!)).toEqual(codes);
		expect([...read!.getChild("token")!]).toEqual([0, 10, 20]);
		expect(codesOf(sliceBatch(read!, 1))).toEqual({
			rows: 2,
			offsets: Uint32Array.of(0, 0, 1),
			index: Uint32Array.of(1),
			value: Float32Array.of(2),
		});
	});

	test("another stream is refused", async () => {
		const [batch] = await allBatches(countingStream([1]));
		expect(() => codesOf(batch!)).toThrow("not a latents stream");
	});
});

describe("metrics", () => {
	test("plain rows come back, missing values as null", async () => {
		const rows = [
			{ step: 1, loss: 0.5, name: "a" },
			{ step: 2, loss: null, name: "b", final: true },
		];
		const types = columnTypes(rows);
		expect(types).toEqual({ step: "number", loss: "number", name: "string", final: "boolean" });
		const schema = tableSchema(types);
		async function* batches() {
			yield tableBatch(schema, rows);
		}
		const [read] = await allBatches(await readBytes(await bytesOf({ schema, batches: batches() })));
		expect(read!.toArray().map((row) => row.toJSON())).toEqual([
			{ step: 1, loss: 0.5, name: "a", final: null },
			{ step: 2, loss: null, name: "b", final: true },
		]);
	});

	test("a key that the schema lacks is refused", () => {
		expect(() => tableBatch(tableSchema({ step: "number" }), [{ steps: 1 }])).toThrow(
			"column steps is not in",
		);
	});
});

describe("takeRows", () => {
	test("reorders every kind of column, nulls included", () => {
		const long = "longer than a view can hold inside";
		const columns = (words: (string | null)[], from: number) =>
			batchOf({
				vector: vectorFromArray(
					words.map((_, i) => [from + i, 0]),
					new FixedSizeList(2, f32),
				),
				word: vectorFromArray(words, new Utf8()),
				list: vectorFromArray(
					words.map((_, i) => Array.from({ length: i }, () => from)),
					new List(f64),
				),
				flag: vectorFromArray(words.map((_, i) => (i === 0 ? null : i % 2 === 0))),
				number: vectorFromArray(
					words.map((_, i) => from + i),
					new Float64(),
				),
			});
		const batches = [columns(["a", null, long], 0), columns([long, "e"], 3)];
		const plain = batches.flatMap((batch) => batch.toArray().map((row) => JSON.stringify(row)));
		const order = Uint32Array.of(4, 1, 0, 3, 2);
		const taken = takeRows(batches, order)
			.toArray()
			.map((row) => JSON.stringify(row));
		expect(taken).toEqual([...order].map((row) => plain[row]!));
	});

	test("views keep pointing at their text, in whichever batch's buffers it lies", () => {
		const texts = [
			["short", "one that is longer than twelve", "x"],
			[],
			["another long text of batch two", ""],
		];
		const schema = new Schema([new Field("text", new Utf8View(), false)]);
		const batches = texts.map((rows) => makeBatch(schema, rows.length, [viewsOf(rows)]));
		const taken = takeRows(batches, Uint32Array.of(3, 1, 4, 0, 1));
		const all = texts.flat();
		expect([...(taken.getChild("text") as Vector)]).toEqual([all[3], all[1], all[4], all[0], all[1]]);
	});

	test("structs are refused by name", () => {
		const item = new Struct([new Field("a", new Float32())]);
		const batch = batchOf({ x: vectorFromArray([{ a: 1 }, { a: 2 }], item) });
		expect(() => takeRows([batch], Uint32Array.of(1, 0))).toThrow(
			"column x: rows of Struct<{a:Float32}> can't be",
		);
	});
});

/** Arrow's layout of views: the length, then the text if it has at most 12 bytes, else its beginning, buffer and offset. */
function viewsOf(rows: readonly string[]): Data {
	const views = new Uint8Array(16 * rows.length);
	const long: number[] = [];
	const view = new DataView(views.buffer);
	for (const [i, text] of rows.entries()) {
		const bytes = new TextEncoder().encode(text);
		view.setInt32(16 * i, bytes.length, true);
		views.set(bytes.subarray(0, bytes.length > 12 ? 4 : 12), 16 * i + 4);
		if (bytes.length <= 12) continue;
		view.setInt32(16 * i + 12, long.length, true);
		long.push(...bytes);
	}
	const variadicBuffers = long.length > 0 ? [Uint8Array.from(long)] : [];
	return makeData({
		type: new Utf8View(),
		length: rows.length,
		nullCount: 0,
		views,
		variadicBuffers,
	} as never);
}
