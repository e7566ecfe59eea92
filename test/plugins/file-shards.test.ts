/** The source file over folders of shards. */
import { afterAll, describe, expect, test } from "bun:test";
import { cp, mkdtemp, readFile, rm, truncate, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { Schema } from "apache-arrow";
import { openArrowFile } from "../../core/arrow/random-access.ts";
import { vectorColumn } from "../../core/arrow/vectors.ts";
import { writeArrowFile } from "../../core/arrow/writer.ts";
import { checkSource } from "../../core/conformance/index.ts";
import { writeShards } from "../../core/shards/write.ts";
import { META, type RecordStream } from "../../core/stream.ts";
import fileSource from "../../plugins/source-file.ts";
import { allBatches, bytesOf, countingStream } from "../core/streams.ts";
import { context, openSource, rowsFrom } from "./sources.ts";

const folder = await mkdtemp(join(tmpdir(), "sae-cache-"));
afterAll(() => rm(folder, { recursive: true }));

/** A stream that says more of itself. */
function saying(stream: RecordStream, metadata: Readonly<Record<string, string>>): RecordStream {
	const { fields, metadata: own } = stream.schema;
	return { ...stream, schema: new Schema(fields, new Map([...own, ...Object.entries(metadata)])) };
}

/** 5000 rows in shards of 1500, their batches of all sizes. */
const cache = join(folder, "cache");
const sizes = [700, 1, 1299, 2048, 952];
await writeShards(countingStream(sizes, { width: 2 }), cache, { dtype: "f32", rowsPerShard: 1500 }, context);

/** Rows 0 to 11 in three parts, written in another order than theirs. */
const parts = join(folder, "parts");
for (const [index, first, rows] of [
	[3, 8, 4],
	[1, 0, 4],
	[2, 4, 4],
] as const) {
	const stream = saying(countingStream([rows], { first }), { [META.part]: `${index}/3`, [META.model]: "m" });
	await writeShards(stream, join(parts, `${index}`), { rowsPerShard: 3 }, context);
}

const numbers = async (options: Record<string, unknown>, start = 0) =>
	(await rowsFrom(await openSource("file", { paths: [cache], ...options }), start)).map(([value]) => value!);

const counting = (n: number, first = 0) => Array.from({ length: n }, (_, i) => first + i);
const sorted = (values: readonly number[]) => values.toSorted((a, b) => a - b);

describe("a folder of shards", () => {
	test("is read in order, and from anywhere", async () => {
		expect((await openSource("file", { paths: [cache] })).rows).toBe(5000);
		expect(await numbers({})).toEqual(counting(5000));
		expect(await numbers({ rows: "1400:3100" }, 50)).toEqual(counting(1650, 1450));
	});

	test("is shuffled across its shards, anew in each epoch, each row once", async () => {
		const whole = await numbers({ shuffle_buffer: 2048, epochs: 2 });
		const [first, second] = [whole.slice(0, 5000), whole.slice(5000)];
		expect(sorted(first)).toEqual(counting(5000));
		expect(sorted(second)).toEqual(counting(5000));
		expect(first).not.toEqual(second);
		expect(whole).not.toEqual(await numbers({ shuffle_buffer: 2048, epochs: 2, seed: 1 }));
		// Smaller runs bring all shards into the first buffer.
		const mixed = await numbers({ shuffle_buffer: 512, shuffle_run: 32 });
		expect(new Set(mixed.slice(0, 512).map((row) => Math.floor(row / 1500))).size).toBe(4);
	});

	test("without runs is shuffled within blocks, as other files are", async () => {
		const rows = await numbers({ shuffle_buffer: 500, shuffle_run: 0 });
		expect(sorted(rows.slice(0, 500))).toEqual(counting(500));
	});

	test("resumes a shuffle exactly, ranges and limits included", async () => {
		const options = { shuffle_buffer: 300, shuffle_run: 64, rows: "100:1900", epochs: 2, limit: 3500 };
		const whole = await numbers(options);
		expect(sorted(whole.slice(0, 1800))).toEqual(counting(1800, 100));
		for (const start of [1, 299, 300, 1799, 1800, 2503, 3499, 3500]) {
			expect(await numbers(options, start)).toEqual(whole.slice(start));
		}
	});

	test("keeps what sources promise", async () => {
		const options = { paths: [cache], rows: ":700", shuffle_buffer: 256, shuffle_run: 100, epochs: 2 };
		await checkSource(fileSource, { options, rows: 1500 });
	});

	test("brings its columns along", async () => {
		const source = await openSource("file", { paths: [cache], shuffle_buffer: 5000 });
		for (const batch of await allBatches({ schema: source.schema, batches: source.batches(0) })) {
			const { data } = vectorColumn(batch, "activation");
			expect([...batch.getChild("token")!]).toEqual(
				[...data.filter((_, i) => i % 2 === 0)].map((row) => 10 * row),
			);
		}
	});

	test("is taken in parts that hold each row once", async () => {
		const all = await Promise.all([1, 2, 3].map((i) => numbers({ shard: `${i}/3`, shuffle_buffer: 100 })));
		expect(sorted(all.flat())).toEqual(counting(5000));
		const { schema } = await openSource("file", { paths: [cache], shard: "2/3" });
		expect(schema.metadata.get(META.part)).toBe("2/3");
	});
});

describe("several folders", () => {
	const read = (paths: readonly string[]) => numbers({ paths });

	test("are joined in the order of their parts, given one by one, by a pattern or by their parent", async () => {
		const given = [3, 1, 2].map((part) => join(parts, `${part}`));
		for (const paths of [given, [join(parts, "*")], [parts]]) expect(await read(paths)).toEqual(counting(12));
		expect(await read(given.slice(0, 2))).toEqual([...counting(4), ...counting(4, 8)]);
		expect((await openSource("file", { paths: [parts] })).schema.metadata.has(META.part)).toBe(false);
	});

	test.each([
		["another width", { width: 3 }, {}, "columns is"],
		["another model", {}, { [META.model]: "n" }, 'model is "n"'],
		["another hook point", {}, { [META.hookPoint]: "blocks.2" }, 'hook_point is "blocks.2"'],
		["a part twice", {}, { [META.part]: "1/3" }, "is part 1 of 3, as"],
		["parts of another number", {}, { [META.part]: "4/4" }, "is a part of 4, but"],
	] as const)("of %s are refused", async (name, shape, about, message) => {
		const other = join(folder, name);
		const metadata = { [META.part]: "2/3", [META.model]: "m", ...about };
		await writeShards(saying(countingStream([4], shape), metadata), other, {}, context);
		await expect(read([join(parts, "1"), other])).rejects.toThrow(message);
	});

	test("of which some are missing or unfinished are refused", async () => {
		const some = join(folder, "some");
		await cp(parts, some, { recursive: true });
		await rm(join(some, "2"), { recursive: true });
		await expect(read([some])).rejects.toThrow("of 3 parts, 2 is missing");
		await rm(join(some, "3", "manifest.json"));
		await expect(read([some])).rejects.toThrow(`${join(some, "3")}: has no manifest.json`);
		await writeFile(join(some, "3", "progress.jsonl"), "");
		await expect(read([some])).rejects.toThrow("sae shard --resume");
	});

	test("don't mix with files", async () => {
		const file = join(folder, "a.arrow");
		await writeArrowFile(countingStream([4]), file);
		await expect(read([parts, file])).rejects.toThrow("not both");
		await expect(openSource("file", { paths: [file], verify: true })).rejects.toThrow(
			"--verify needs folders",
		);
	});
});

describe("damage", () => {
	/** A copy of the cache whose second shard is spoilt. */
	async function spoilt(spoil: (shard: string, copy: string) => Promise<void>): Promise<string> {
		const copy = await mkdtemp(join(folder, "spoilt-"));
		await cp(cache, copy, { recursive: true });
		await spoil(join(copy, "shard-00001.arrow"), copy);
		return copy;
	}

	const flip = async (shard: string) => {
		const bytes = await readFile(shard);
		bytes[bytes.length >> 1]! ^= 1;
		await writeFile(shard, bytes);
	};

	test("a missing shard is named", async () => {
		const copy = await spoilt((shard) => rm(shard));
		await expect(openSource("file", { paths: [copy] })).rejects.toThrow(
			`${join(copy, "shard-00001.arrow")}: is missing`,
		);
	});

	test("a shard of another size is named", async () => {
		const copy = await spoilt((shard) => truncate(shard, 1000));
		await expect(openSource("file", { paths: [copy] })).rejects.toThrow(
			/shard-00001.arrow: has 1000 bytes instead of \d+; .* rows 1500 to 2999/,
		);
	});

	test("a flipped bit is found by --verify", async () => {
		const copy = await spoilt(flip);
		expect((await openSource("file", { paths: [copy] })).rows).toBe(5000);
		await expect(openSource("file", { paths: [copy], verify: true })).rejects.toThrow(
			`${join(copy, "shard-00001.arrow")}: is not what its checksum says`,
		);
		expect((await openSource("file", { paths: [cache], verify: true })).rows).toBe(5000);
	});

	test.each([0, 1000])(
		"a shard with other rows than its manifest says is named (shuffle %i)",
		async (buffer) => {
			const copy = await spoilt(async (shard, copy) => {
				const bytes = await bytesOf(countingStream([9], { width: 2 }), "file");
				await writeFile(shard, bytes);
				const path = join(copy, "manifest.json");
				const manifest = JSON.parse(await readFile(path, "utf8"));
				manifest.shards[1].bytes = bytes.length;
				await writeFile(path, JSON.stringify(manifest));
			});
			await expect(numbers({ paths: [copy], shuffle_buffer: buffer })).rejects.toThrow(
				/shard-00001.arrow: holds 9 rows .* but its manifest says 1500/,
			);
		},
	);

	test.each([
		["is not JSON", () => "{", "is not sound JSON"],
		["is of another version", (text: string) => text.replace('"version": 1', '"version": 2'), "(version: "],
		[
			"leads out of its folder",
			(text: string) => text.replace("shard-00000", "../shard-00000"),
			"shards.0.file",
		],
		["doesn't add up", (text: string) => text.replace('"rows": 5000', '"rows": 4000'), "don't add up"],
	])("a manifest that %s is an error", async (_, change, message) => {
		const copy = await spoilt(async (_, copy) => {
			const path = join(copy, "manifest.json");
			await writeFile(path, change(await readFile(path, "utf8")));
		});
		await expect(openSource("file", { paths: [copy] })).rejects.toThrow(message);
	});
});

describe("rows of an Arrow file in any order", () => {
	test("are those asked for", async () => {
		const path = join(folder, "random.arrow");
		await writeArrowFile(countingStream([3, 1, 5]), path);
		const file = await openArrowFile(path);
		expect(file.rows).toBe(9);
		for (const [from, to] of [
			[0, 9],
			[2, 5],
			[3, 4],
			[8, 9],
			[4, 4],
		] as const) {
			const tokens = (await file.readRows(from, to)).flatMap((batch) => [...batch.getChild("token")!]);
			expect(tokens).toEqual(counting(to - from, from).map((row) => 10 * row));
		}
		await file.close();
	});

	test("damage is one clear error, wherever it lies", async () => {
		const bytes = await bytesOf(countingStream([30, 10]), "file");
		const path = join(folder, "damaged.arrow");
		let refused = 0;
		for (let at = 8; at < bytes.length; at += 3) {
			const damaged = bytes.slice();
			damaged[at]! ^= 0x55;
			await writeFile(path, damaged);
			const failure = await openArrowFile(path)
				.then(async (file) => {
					await file.readRows(0, file.rows);
					await file.close();
				})
				.catch((error: Error) => error);
			if (!failure) continue;
			refused++;
			expect([failure.name, failure.message.slice(0, path.length)]).toEqual(["SaeError", path]);
		}
		expect(refused).toBeGreaterThan(100);
	});
});
