import { afterAll, describe, expect, test } from "bun:test";
import { mkdtemp, readdir, rm, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import {
	Dictionary,
	Int32,
	Table,
	tableFromArrays,
	tableFromIPC,
	tableToIPC,
	Utf8,
	vectorFromArray,
} from "apache-arrow";
import { openArrow, scanArrow } from "../../../core/arrow/reader.ts";
import { vectorColumn } from "../../../core/arrow/vectors.ts";
import { ArrowWriter, writeArrowFile } from "../../../core/arrow/writer.ts";
import { META } from "../../../core/stream.ts";
import { allBatches, bytesOf, chunksOf, countingStream, readBytes } from "../streams.ts";

const folder = await mkdtemp(join(tmpdir(), "sae-arrow-"));
afterAll(() => rm(folder, { recursive: true }));

const fixture = (name: string) => join(import.meta.dir, "../../fixtures/arrow", name);

describe("what is written", () => {
	test("is read back: values, schema and batch metadata, whatever the chunks", async () => {
		const bytes = await bytesOf(countingStream([5, 3]));
		for (const step of [1, 7, 4096]) {
			const stream = await readBytes(bytes, step);
			expect(stream.schema.metadata.get(META.kind)).toBe("activations");
			expect(stream.schema.fields[0]!.metadata.get("ARROW:extension:name")).toBe("arrow.fixed_shape_tensor");
			const [first, second] = await allBatches(stream);
			expect(vectorColumn(first!, "activation").data[19]).toBe(4.75);
			expect(second!.metadata.get(META.cursor)).toBe("5");
			expect([...second!.getChild("token")!]).toEqual([50, 60, 70]);
		}
	});

	test("is what apache-arrow reads too", async () => {
		for (const format of ["stream", "file"] as const) {
			const table = tableFromIPC(await bytesOf(countingStream([5, 3]), format));
			expect(table.numRows).toBe(8);
			expect(table.get(7)!.token).toBe(70);
		}
	});

	test("a stream without batches keeps its schema", async () => {
		const stream = await readBytes(await bytesOf(countingStream([])));
		expect(stream.schema.fields.map((field) => field.name)).toEqual(["activation", "token"]);
		expect(await allBatches(stream)).toEqual([]);
	});

	test("a file can come through a pipe, and can be read from any row", async () => {
		const path = join(folder, "rows.arrow");
		await writeArrowFile(countingStream([5, 3, 4]), path);
		expect((await scanArrow(path)).rows).toBe(12);
		const piped = await readBytes(new Uint8Array(await Bun.file(path).arrayBuffer()));
		expect((await allBatches(piped)).length).toBe(3);
		const later = await allBatches(await openArrow(path, 6));
		expect(later.flatMap((batch) => [...batch.getChild("token")!])).toEqual([60, 70, 80, 90, 100, 110]);
	});

	test("values lie over aligned bytes, without padding", async () => {
		const [batch] = await allBatches(await readBytes(await bytesOf(countingStream([5], { width: 3 })), 11));
		const { data } = vectorColumn(batch!, "activation");
		expect(data.length).toBe(15);
		expect(data.byteOffset % 8).toBe(0);
	});

	test("batches of other columns are refused", async () => {
		const writer = new ArrowWriter(countingStream([]).schema, { write: async () => {} });
		const [batch] = await allBatches(countingStream([2], { width: 5 }));
		await expect(writer.write(batch!)).rejects.toThrow("but the stream began with");
	});

	test("a failing write leaves no file", async () => {
		const path = join(folder, "broken.arrow");
		const stream = countingStream([2]);
		async function* failing() {
			yield* stream.batches;
			throw new Error("source failed");
		}
		await expect(writeArrowFile({ schema: stream.schema, batches: failing() }, path)).rejects.toThrow(
			"source failed",
		);
		expect((await readdir(folder)).filter((name) => name.startsWith("broken"))).toEqual([]);
	});
});

describe("what others write", () => {
	const files = [
		"polars-list-f32-uncompressed.arrow",
		"polars-list-f32-lz4.arrow",
		"polars-list-f32-zstd.arrow",
		"polars-list-f64-stream.arrow",
		"polars-categorical-stream.arrow",
		"polars-array-f32.arrow",
	];
	test.each(files)("%s is read", async (file) => {
		const batches = await allBatches(await openArrow(fixture(file)));
		const { data, rows, width, type } = vectorColumn(batches[0]!, "activation");
		expect({ rows, width, type }).toEqual({ rows: 64, width: 4, type: "float32" });
		expect([...data]).toEqual(Array.from({ length: 256 }, (_, i) => i / 4));
		expect(batches[0]!.getChild("word")!.get(3)).toBe("w3");
		expect(batches[0]!.getChild("word")!.get(5)).toBe(null);
	});

	test.each(files)("%s passes through with every column", async (file) => {
		const passed = await readBytes(await bytesOf(await openArrow(fixture(file))));
		const original = await openArrow(fixture(file));
		expect(passed.schema.toString()).toBe(original.schema.toString());
		const rows = async (stream: typeof original) =>
			new Table(stream.schema, await allBatches(stream)).toString();
		expect(await rows(passed)).toBe(await rows(original));
	});

	test("apache-arrow's file, whose schema stands only in the footer", async () => {
		const path = join(folder, "footer.arrow");
		const bytes = tableToIPC(tableFromArrays({ token: Int32Array.of(1, 2, 3) }), "file");
		await writeFile(path, bytes);
		const [batch] = await allBatches(await openArrow(path));
		expect([...batch!.getChild("token")!]).toEqual([1, 2, 3]);
		await expect(readBytes(bytes)).rejects.toThrow("does not begin with a schema");
	});

	test("a dictionary that is replaced between batches", async () => {
		const word = (...words: string[]) => vectorFromArray(words, new Dictionary(new Utf8(), new Int32(), 1));
		const tables = [new Table({ word: word("a", "b") }), new Table({ word: word("c", "a", "d") })];
		const { schema } = tables[0]!;
		async function* batches() {
			for (const table of tables) yield table.batches[0]!;
		}
		const read = await allBatches(await readBytes(await bytesOf({ schema, batches: batches() })));
		expect(read.map((batch) => [...batch.getChild("word")!])).toEqual([
			["a", "b"],
			["c", "a", "d"],
		]);
	});
});

describe("a stream that is not whole", () => {
	test("fails wherever it is cut", async () => {
		const bytes = await bytesOf(countingStream([2, 1], { width: 2 }));
		for (let length = 0; length < bytes.length; length++) {
			const cut = readBytes(bytes.subarray(0, length)).then(allBatches);
			await expect(cut).rejects.toMatchObject({ name: "SaeError" });
		}
	});

	test("says what happened", async () => {
		const chunks = await chunksOf(countingStream([2, 1]));
		const whole = Buffer.concat(chunks);
		const read = (bytes: Uint8Array) => readBytes(bytes).then(allBatches);
		await expect(read(new Uint8Array(0))).rejects.toThrow("input: is empty; its producer wrote nothing");
		await expect(read(whole.subarray(0, -8))).rejects.toThrow("without Arrow's end-of-stream marker");
		await expect(read(whole.subarray(0, -20))).rejects.toThrow("in the middle of a message");
		await expect(read(Buffer.concat([whole, whole]))).rejects.toThrow("more data follows");
		await expect(read(Buffer.from("step,loss\n1,2\n"))).rejects.toThrow('it begins with "step,los"');
	});

	test("an unfinished file is refused before any row is read", async () => {
		const path = join(folder, "unfinished.arrow");
		await writeFile(path, (await bytesOf(countingStream([5]), "file")).subarray(0, -30));
		await expect(openArrow(path)).rejects.toThrow("has no footer");
	});

	test("a size that is only claimed is not allocated", async () => {
		const bytes = await bytesOf(countingStream([2]));
		const claim = new Uint8Array([...bytes.subarray(0, 4), 0xff, 0xff, 0xff, 0x7f, ...bytes.subarray(8)]);
		await expect(readBytes(claim)).rejects.toThrow("this Arrow data is damaged");
	});
});
