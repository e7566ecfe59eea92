/** Streams as Parquet, read back by an independent reader. */
import { expect, test } from "bun:test";
import { mkdtemp, rm } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import {
	type DataType,
	Dictionary,
	Field,
	FixedSizeList,
	Float16,
	Float32,
	Int64,
	List,
	type RecordBatch,
	Schema,
	Struct,
	TimestampMillisecond,
	Uint8,
	Uint32,
	Utf8,
	vectorFromArray,
} from "apache-arrow";
import {
	asyncBufferFromFile,
	parquetMetadataAsync,
	parquetReadObjects,
	parquetSchema,
	type SchemaTree,
} from "hyparquet";
import { compressors } from "hyparquet-compressors";
import { makeBatch } from "../../../core/arrow/batch.ts";
import { featuresBatch, featuresSchema } from "../../../core/arrow/features.ts";
import { ParquetWriter } from "../../../core/arrow/parquet.ts";
import { SaeError } from "../../../core/errors.ts";
import { writeAtomically } from "../../../core/files/atomic.ts";
import { aFeature, anExample } from "../interpret/features.ts";

async function reread(schema: Schema, batches: readonly RecordBatch[]) {
	const folder = await mkdtemp(join(tmpdir(), "sae-parquet-"));
	const path = join(folder, "rows.parquet");
	try {
		await writeAtomically(path, async (append) => {
			const writer = new ParquetWriter(schema, { write: append });
			for (const batch of batches) await writer.write(batch);
			await writer.end();
		});
		const file = await asyncBufferFromFile(path);
		const metadata = await parquetMetadataAsync(file);
		return { metadata, rows: await parquetReadObjects({ file, metadata, compressors }) };
	} finally {
		await rm(folder, { recursive: true });
	}
}

function table(fields: readonly Field[], columns: readonly unknown[][]): RecordBatch {
	const data = fields.map(({ type }, i) => vectorFromArray(columns[i]!, type).data[0]!);
	return makeBatch(new Schema([...fields]), columns[0]!.length, data);
}

const of = (type: DataType) => new Field("item", type, true);

test("features come back with every nested value", async () => {
	const features = [
		aFeature({
			latent: 4_000_000_000,
			count: 2 ** 40,
			top: [anExample([0, 2.5], ["a", "ß…"]), anExample([1])],
		}),
		aFeature({ latent: 1, encoder_decoder_cosine: 0.5, nearest: [{ latent: 2, cosine: 0.25 }] }),
	];
	const schema = featuresSchema([["sae.model", "m"]]);
	const whole = featuresBatch(schema, features);
	const { rows, metadata } = await reread(schema, [whole.slice(0, 1), whole.slice(1, 2)]);
	const plain = JSON.parse(
		JSON.stringify(rows, (_, value) => (ArrayBuffer.isView(value) ? [...(value as never)] : value)),
	);
	const expected = features.map(({ histogram, ...feature }) => ({
		...feature,
		histogram_start: histogram.start,
		histogram_width: histogram.width,
		histogram_counts: histogram.counts,
	}));
	expect(plain).toEqual(
		JSON.parse(
			JSON.stringify(expected, (_, value) => (ArrayBuffer.isView(value) ? [...(value as never)] : value)),
		),
	);
	expect(metadata.key_value_metadata).toContainEqual({ key: "sae.model", value: "m" });
	const names = (tree: SchemaTree): string[] =>
		tree.children.flatMap((child) => [child.path.join("."), ...names(child)]);
	expect(names(parquetSchema(metadata))).toContain("top.list.element.texts.list.element");
});

test("vectors, nulls, slices and dictionaries keep their values", async () => {
	const fields = [
		new Field("half", new FixedSizeList(2, of(new Float16())), false),
		new Field("wide", new Int64(), true),
		new Field("small", new Uint8(), false),
		new Field("text", new Dictionary(new Utf8(), new Uint32()), true),
		new Field("lists", new List(of(new List(of(new Float32())))), true),
		new Field("struct", new Struct([new Field("a", new Utf8(), true)]), true),
	];
	const batch = table(fields, [
		[
			[9, 9],
			[1, -0.5],
			[2, 65504],
			[0, 3],
		],
		[0n, 2n ** 60n, null, -1n],
		[0, 255, 1, 2],
		["z", "b", null, "b"],
		[null, [[1], [], [2, 3]], null, []],
		[null, { a: "x" }, null, { a: null }],
	]);
	const { rows } = await reread(batch.schema, [batch.slice(1, 4)]);
	expect<unknown>(rows.map(({ half, ...row }) => ({ ...row, half: Array.from(half) }))).toEqual([
		{ half: [1, -0.5], wide: 2n ** 60n, small: 255, text: "b", lists: [[1], [], [2, 3]], struct: { a: "x" } },
		{ half: [2, 65504], wide: null, small: 1, text: null, lists: undefined, struct: undefined },
		{ half: [0, 3], wide: -1n, small: 2, text: "b", lists: [], struct: { a: null } },
	]);
});

test("large batches become several row groups, and none is a file too", async () => {
	const width = 2 ** 12;
	const rows = 1200;
	const field = new Field(
		"activation",
		new FixedSizeList(width, new Field("item", new Float32(), false)),
		false,
	);
	const schema = new Schema([new Field("row", new Uint32(), false), field]);
	const numbers = vectorFromArray(new Uint32Array(rows).map((_, i) => i)).data[0]!;
	const child = vectorFromArray(new Float32Array(rows * width).map((_, i) => i % 1000)).data[0]!;
	const vectors = vectorFromArray([[]], field.type).data[0]!.clone(field.type, 0, rows, 0, undefined, [
		child,
	]);
	const { metadata, rows: read } = await reread(schema, [makeBatch(schema, rows, [numbers, vectors])]);
	expect(metadata.row_groups.map(({ num_rows }) => Number(num_rows))).toEqual([400, 400, 400]);
	expect(read.at(-1)).toMatchObject({ row: 1199 });
	expect(read.at(-1)!.activation.at(-1)).toBe((rows * width - 1) % 1000);
	const empty = await reread(schema, []);
	expect(empty.rows).toEqual([]);
	expect(parquetSchema(empty.metadata).children.map(({ element }) => element.name)).toEqual([
		"row",
		"activation",
	]);
});

test("types that Parquet files don't get are refused by column", () => {
	const schema = new Schema([new Field("when", new TimestampMillisecond(), true)]);
	const sink = { write: async () => {} };
	expect(() => new ParquetWriter(schema, sink)).toThrow(SaeError);
	expect(() => new ParquetWriter(schema, sink)).toThrow(
		"column when: values of the type Timestamp<MILLISECOND>",
	);
});
