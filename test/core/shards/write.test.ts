import { afterAll, describe, expect, test } from "bun:test";
import { createHash } from "node:crypto";
import { appendFile, mkdtemp, readdir, readFile, rm, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { Field, FixedSizeList, Float64, List, makeData, type RecordBatch, Schema } from "apache-arrow";
import { makeBatch, relabelBatch } from "../../../core/arrow/batch.ts";
import { openArrow } from "../../../core/arrow/reader.ts";
import { vectorColumn } from "../../../core/arrow/vectors.ts";
import { readManifest } from "../../../core/shards/manifest.ts";
import { checkRoom, rowsPerShard, statedSizes } from "../../../core/shards/plan.ts";
import { type ShardOptions, writeShards } from "../../../core/shards/write.ts";
import { META, type RecordStream } from "../../../core/stream.ts";
import { context } from "../../plugins/sources.ts";
import { allBatches, countingStream } from "../streams.ts";

const parent = await mkdtemp(join(tmpdir(), "sae-shards-"));
afterAll(() => rm(parent, { recursive: true }));

let folders = 0;
const newFolder = () => join(parent, `${folders++}`);

const write = (stream: RecordStream, folder: string, options: ShardOptions = {}) =>
	writeShards(stream, folder, options, context);

/** All rows of a folder's shards, with their bits and token ids. */
async function rowsOf(folder: string) {
	const manifest = (await readManifest(folder))!;
	const rows: { bits: number[]; token: number }[] = [];
	for (const { file } of manifest.shards) {
		for (const batch of await allBatches(await openArrow(join(folder, file)))) {
			const { data, width } = vectorColumn(batch, "activation");
			const words = data instanceof Float32Array ? new Uint32Array(data.slice().buffer) : data;
			const tokens = batch.getChild("token")!;
			for (let row = 0; row < batch.numRows; row++) {
				rows.push({ bits: [...words.subarray(row * width, (row + 1) * width)], token: tokens.get(row) });
			}
		}
	}
	return rows;
}

/** Rows of random bits, NaN and infinities among them. */
function bitStream(type: "float32" | "float16", rows: number): RecordStream {
	const plain = countingStream([rows], { type });
	async function* batches(): AsyncGenerator<RecordBatch> {
		for await (const batch of plain.batches) {
			const { data } = vectorColumn(batch, "activation");
			const words = new Uint16Array(data.buffer, data.byteOffset, data.byteLength / 2);
			for (let i = 0; i < words.length; i++) words[i] = Math.imul(i + 1, 0x9e3779b1) >>> 13;
			yield batch;
		}
	}
	return { schema: plain.schema, batches: batches() };
}

describe("shards", () => {
	test.each(["float32", "float16"] as const)("keep the bits of %s and the other columns", async (type) => {
		const [batch] = await allBatches(bitStream(type, 23));
		const { data } = vectorColumn(batch!, "activation");
		const words = type === "float32" ? new Uint32Array(data.slice().buffer) : data;
		const folder = newFolder();
		const manifest = await write(bitStream(type, 23), folder, { rowsPerShard: 10 });
		expect(manifest.shards.map(({ rows, first_row }) => [rows, first_row])).toEqual([
			[10, 0],
			[10, 10],
			[3, 20],
		]);
		const rows = await rowsOf(folder);
		expect(rows.flatMap(({ bits }) => bits)).toEqual([...words]);
		expect(rows.map(({ token }) => token)).toEqual(Array.from({ length: 23 }, (_, row) => 10 * row));
	});

	test("become float16 or float32 as asked, rounded to the nearest", async () => {
		const halves = newFolder();
		const manifest = await write(countingStream([700, 3]), halves, { dtype: "f16" });
		expect([manifest.dtype, manifest.d_in]).toEqual([{ activation: "f16" }, { activation: 4 }]);
		const [batch] = await allBatches(countingStream([703]));
		const expected = new Float16Array(vectorColumn(batch!, "activation").data);
		const stored = (await rowsOf(halves)).flatMap(({ bits }) => bits);
		expect(stored).toEqual([...new Uint16Array(expected.buffer)]);

		const floats = newFolder();
		await write(countingStream([5], { type: "float16" }), floats, { dtype: "f32" });
		const widened = new Float32Array(
			Uint32Array.from((await rowsOf(floats)).flatMap(({ bits }) => bits)).buffer,
		);
		expect([...widened.subarray(4, 8)]).toEqual([1, 1.25, 1.5, 1.75]);
	});

	test("refuse what is beyond float16, with its row", async () => {
		const folder = newFolder();
		const stream = countingStream([3, 2], { first: 65518 });
		await expect(write(stream, folder, { dtype: "f16" })).rejects.toThrow(
			"row 65520 holds 65520, but float16 ends at 65504; use --dtype f32",
		);
		expect(await readManifest(folder)).toBeUndefined();
	});

	test("hold lists of float64 as vectors of one width", async () => {
		const item = new Field("item", new Float64(), false);
		const child = makeData({ type: item.type, length: 6, data: Float64Array.of(1, 2, 3, 4, 5, 6) });
		const lists = makeData({ type: new List(item), valueOffsets: Int32Array.of(0, 3, 6), length: 2, child });
		const fixed = makeData({ type: new FixedSizeList(3, item), length: 2, child });
		const schema = new Schema([
			new Field("lists", lists.type, false),
			new Field("activation", fixed.type, false),
		]);
		for (const [names, d_in] of [
			[["lists"], { lists: 3 }],
			[["activation"], { activation: 3 }],
		] as const) {
			const one = new Schema(schema.fields.filter(({ name }) => (names as readonly string[]).includes(name)));
			const data = names[0] === "lists" ? lists : fixed;
			async function* batches() {
				yield makeBatch(one, 2, [data]);
			}
			const folder = newFolder();
			const manifest = await write({ schema: one, batches: batches() }, folder, { dtype: "f16" });
			expect(manifest.d_in).toEqual(d_in as Record<string, number>);
			const [batch] = await allBatches(await openArrow(join(folder, manifest.shards[0]!.file)));
			const halves = new Float16Array(vectorColumn(batch!, names[0]).data.slice().buffer);
			expect([...halves]).toEqual([1, 2, 3, 4, 5, 6]);
		}
	});

	test("are described by the manifest, checksums included", async () => {
		const plain = countingStream([8], { first: 40 });
		const about = { [META.model]: "gpt2", [META.hookPoint]: "blocks.1.hook_resid_post", [META.part]: "2/3" };
		const schema = new Schema(
			plain.schema.fields,
			new Map([...plain.schema.metadata, ...Object.entries(about)]),
		);
		async function* batches() {
			for await (const batch of plain.batches) yield relabelBatch(batch, schema, batch.metadata);
		}
		const folder = newFolder();
		const manifest = await write({ schema, batches: batches() }, folder, { rowsPerShard: 5 });
		expect(manifest).toMatchObject({
			format: "saeflow-shards",
			version: 1,
			columns: { activation: "FixedSizeList[4]<Float32>", token: "Uint32" },
			rows: 8,
			rows_per_shard: 5,
			cursor: 40,
			part: { index: 2, of: 3 },
			model: "gpt2",
			hook_point: "blocks.1.hook_resid_post",
			tokenizer: null,
			command: "sae activations test",
		});
		for (const { file, bytes, sha256 } of manifest.shards) {
			const content = await readFile(join(folder, file));
			expect(content.length).toBe(bytes);
			expect(createHash("sha256").update(content).digest("hex")).toBe(sha256);
		}
		expect((await readdir(folder)).toSorted()).toEqual([
			"manifest.json",
			"shard-00000.arrow",
			"shard-00001.arrow",
		]);
	});
});

describe("an interrupted folder", () => {
	/** A stream that fails after these batches. */
	function failing(sizes: readonly number[]): RecordStream {
		const stream = countingStream(sizes);
		async function* batches() {
			yield* stream.batches;
			throw new Error("the producer is gone");
		}
		return { schema: stream.schema, batches: batches() };
	}

	async function interrupted(): Promise<string> {
		const folder = newFolder();
		await expect(write(failing([7, 9]), folder, { rowsPerShard: 5 })).rejects.toThrow("the producer is gone");
		// What a command that was killed leaves besides.
		await writeFile(join(folder, "shard-00003.arrow.77.tmp"), "torn");
		await appendFile(join(folder, "progress.jsonl"), '{"file":"shard-0000');
		return folder;
	}

	const whole = async () => {
		const folder = newFolder();
		await write(countingStream([33]), folder, { rowsPerShard: 5 });
		return folder;
	};

	test.each([
		["from row 0", { sizes: [4, 29], first: 0 }],
		["from the row that comes next", { sizes: [18], first: 15 }],
	])("goes on with a stream %s, to the same bytes", async (_, { sizes, first }) => {
		const folder = await interrupted();
		expect(await readdir(folder)).toContain("shard-00002.arrow");
		expect(await readManifest(folder)).toBeUndefined();
		const resumed = await write(countingStream(sizes, { first }), folder, { resume: true });
		expect(await rowsOf(folder)).toEqual(await rowsOf(await whole()));
		expect(resumed.shards.map(({ rows }) => rows)).toEqual([5, 5, 5, 5, 5, 5, 3]);
		expect((await readdir(folder)).filter((name) => !/^shard-\d+\.arrow$/.test(name))).toEqual([
			"manifest.json",
		]);
	});

	test("makes shards again that are no longer as they were", async () => {
		const folder = await interrupted();
		await rm(join(folder, "shard-00001.arrow"));
		await write(countingStream([33]), folder, { resume: true });
		expect(await rowsOf(folder)).toEqual(await rowsOf(await whole()));
	});

	test("says where a stream must begin", async () => {
		const late = countingStream([10], { first: 20 });
		await expect(write(late, await interrupted(), { resume: true })).rejects.toThrow(
			"--start 15 begins there",
		);
		const short = countingStream([10]);
		await expect(write(short, await interrupted(), { resume: true })).rejects.toThrow("ends at row 10");
	});

	test.each([
		["other columns", countingStream([33], { width: 3 }), {}, "was begun with columns"],
		["another type", countingStream([33]), { dtype: "f16" }, "was begun with columns"],
		["other sizes", countingStream([33]), { rowsPerShard: 6 }, "was begun with rows_per_shard 5"],
	] as const)("is not continued with %s", async (_, stream, options, message) => {
		await expect(write(stream, await interrupted(), { ...options, resume: true })).rejects.toThrow(message);
	});

	test("is not begun anew, nor is a complete one", async () => {
		await expect(write(countingStream([9]), await interrupted())).rejects.toThrow(
			"--resume goes on with them",
		);
		await expect(write(countingStream([9]), await whole())).rejects.toThrow("already holds shards");
	});

	test("that turns out to be complete is left as it is", async () => {
		const folder = await whole();
		const before = await readFile(join(folder, "manifest.json"), "utf8");
		await write(countingStream([33]), folder, { resume: true });
		expect(await readFile(join(folder, "manifest.json"), "utf8")).toBe(before);
	});
});

test.each([true, false])("a folder with anything else in it is refused (resume %p)", async (resume) => {
	const folder = newFolder();
	await write(countingStream([3]), folder);
	await writeFile(join(folder, "thesis.tex"), "");
	await expect(write(countingStream([3]), folder, { resume })).rejects.toThrow("holds thesis.tex");
	expect(await readdir(folder)).toContain("thesis.tex");
});

test("a stream without rows is a folder without shards", async () => {
	expect((await write(countingStream([]), newFolder())).shards).toEqual([]);
});

describe("sizes", () => {
	const room = { folder: "cache", rowBytes: 1536, free: 1e9 };

	test("are stated, as far as they are known", () => {
		expect(statedSizes({ ...room, rows: 100_000, rowsPerShard: 40_000 })).toBe(
			"100000 rows of 1536 bytes: 154 MB in 3 shards of up to 40000 rows (61.4 MB); 1.00 GB are free",
		);
		expect(statedSizes({ ...room, rows: undefined, rowsPerShard: 40_000 })).toContain("room for 651041 rows");
	});

	test("must fit", () => {
		expect(() => statedSizes({ ...room, rows: 651_042, rowsPerShard: 10 })).toThrow(
			"but only 1.00 GB are free",
		);
		expect(() => statedSizes({ ...room, rows: undefined, rowsPerShard: 651_042 })).toThrow(
			"cache: 651042 rows",
		);
		expect(() => checkRoom({ ...room, rows: 651_041 })).not.toThrow();
	});

	test("of shards are whole runs of rows, but never none", () => {
		expect(rowsPerShard(1536)).toBe(165_888);
		expect(rowsPerShard(1536) % 1024).toBe(0);
		expect([rowsPerShard(1000, 500_000), rowsPerShard(1e9, 1)]).toEqual([500, 1]);
	});
});
