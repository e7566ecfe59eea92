import { afterAll, describe, expect, test } from "bun:test";
import { mkdtemp, rm } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { writeArrowFile } from "../../core/arrow/writer.ts";
import { writeSafetensors } from "../../core/files/safetensors.ts";
import { META } from "../../core/stream.ts";
import { allBatches, countingStream } from "../core/streams.ts";
import { openSource, rowsFrom } from "./sources.ts";

const folder = await mkdtemp(join(tmpdir(), "sae-source-"));
afterAll(() => rm(folder, { recursive: true }));

/** Files of 12 rows of width 2, [row, −row], in three parts. */
const parts = await Promise.all(
	[0, 5, 9].map(async (first, i) => {
		const rows = [5, 4, 3][i]!;
		const data = Float32Array.from(
			{ length: 2 * rows },
			(_, j) => (first + (j >> 1)) * (j % 2 === 0 ? 1 : -1),
		);
		const token = {
			name: "ids",
			dtype: "i64",
			shape: [1, rows],
			data: BigInt64Array.from(Array(rows), (_, j) => BigInt(first + j)),
		} as const;
		const path = join(folder, `part-${8 + i}.safetensors`);
		await writeSafetensors(path, [{ name: "x", dtype: "f32", shape: [rows, 2], data }, token]);
		return path;
	}),
);

const numbers = async (options: Record<string, unknown>, start = 0) => {
	const rows = await rowsFrom(await openSource("file", { paths: parts, tensor: "x", ...options }), start);
	for (const [value, negative] of rows) expect(negative! + value!).toBe(0);
	return rows.map(([value]) => value!);
};

const counting = (n: number, first = 0) => Array.from({ length: n }, (_, i) => first + i);

describe("the source file", () => {
	test("joins files, and finds them by patterns in the order of their numbers", async () => {
		expect(await numbers({ batch_rows: 2 })).toEqual(counting(12));
		expect(await numbers({ paths: [join(folder, "part-*.safetensors")] })).toEqual(counting(12));
	});

	test("takes ranges, limits and epochs", async () => {
		expect(await numbers({ rows: "4:10" })).toEqual(counting(6, 4));
		expect(await numbers({ rows: ":3", epochs: 3, limit: 8 })).toEqual([0, 1, 2, 0, 1, 2, 0, 1]);
		expect(await numbers({ rows: "10:" })).toEqual([10, 11]);
		expect(await numbers({ limit: 0 })).toEqual([]);
	});

	test.each([0, 1, 5, 100])(
		"starts anywhere with the same rows (shuffle buffer %i)",
		async (shuffle_buffer) => {
			const options = { rows: "1:12", epochs: 3, shuffle_buffer, seed: 2, batch_rows: 3, limit: 30 };
			const whole = await numbers(options);
			for (let start = 0; start <= 30; start++)
				expect(await numbers(options, start)).toEqual(whole.slice(start));
		},
	);

	test("shuffles each epoch anew, within blocks", async () => {
		const whole = await numbers({ epochs: 2, shuffle_buffer: 6, seed: 1 });
		expect(whole.slice(0, 12)).not.toEqual(whole.slice(12));
		for (const first of [0, 6]) {
			const block = (epoch: number) => whole.slice(12 * epoch + first, 12 * epoch + first + 6);
			expect(block(0).toSorted((a, b) => a - b)).toEqual(counting(6, first));
			expect(block(1).toSorted((a, b) => a - b)).toEqual(counting(6, first));
		}
		expect(await numbers({ epochs: 2, shuffle_buffer: 6, seed: 2 })).not.toEqual(whole);
	});

	test("token ids stay with their rows when asked for", async () => {
		const source = await openSource("file", {
			paths: parts,
			tensor: "x",
			token_tensor: "ids",
			shuffle_buffer: 12,
		});
		const batches = await allBatches({ schema: source.schema, batches: source.batches(0) });
		for (const row of batches.flatMap((batch) => batch.toArray()))
			expect(row.activation.get(0)).toBe(row.token);
		expect((await openSource("file", { paths: parts, tensor: "x" })).schema.fields.length).toBe(1);
	});

	test("batches say where they begin and how they were shuffled; the schema says who made them", async () => {
		const source = await openSource("file", {
			paths: parts,
			tensor: "x",
			batch_rows: 5,
			shuffle_buffer: 12,
			seed: 9,
		});
		expect(source.rows).toBe(12);
		expect(source.schema.metadata.get(META.command)).toBe("sae activations test");
		const batches = await allBatches({ schema: source.schema, batches: source.batches(3) });
		expect(batches.map((batch) => batch.metadata.get(META.cursor))).toEqual(["3", "8"]);
		expect(batches[0]!.metadata.get(META.seed)).toBe("9");
	});

	test("Arrow files keep their columns, shuffled or not", async () => {
		const paths = [join(folder, "a.arrow"), join(folder, "b.arrow")];
		await writeArrowFile(countingStream([5, 3]), paths[0]!);
		await writeArrowFile(countingStream([4], { first: 8 }), paths[1]!);
		for (const shuffle_buffer of [0, 7]) {
			const source = await openSource("file", { paths, shuffle_buffer });
			const batches = await allBatches({ schema: source.schema, batches: source.batches(2) });
			const rows = batches.flatMap((batch) => batch.toArray());
			expect(rows.length).toBe(10);
			for (const row of rows) expect(row.token).toBe(10 * row.activation.get(0));
		}
	});

	test.each(["polars-array-f32.arrow", "polars-list-f64-stream.arrow", "polars-categorical-stream.arrow"])(
		"the rows of %s are shuffled with their text",
		async (name) => {
			const paths = [join(import.meta.dir, "../fixtures/arrow", name)];
			const source = await openSource("file", { paths, epochs: 2, shuffle_buffer: 50, batch_rows: 9 });
			const batches = await allBatches({ schema: source.schema, batches: source.batches(0) });
			const rows = batches.flatMap((batch) => batch.toArray());
			expect(new Set(rows.map((row) => row.token)).size).toBe(64);
			for (const { token, word, activation } of rows) {
				const row = token / 3;
				expect([...activation]).toEqual([row, row + 0.25, row + 0.5, row + 0.75]);
				expect(word).toBe(row % 5 === 0 ? null : `w${row % 7}`);
			}
		},
	);

	test("f16 stays, bf16 becomes f32", async () => {
		const path = join(folder, "types.safetensors");
		const tensor = (name: string, dtype: "f16" | "bf16") => ({
			name,
			dtype,
			shape: [1, 2],
			data: new Uint8Array(4),
		});
		await writeSafetensors(path, [tensor("half", "f16"), tensor("brain", "bf16")]);
		const type = async (name: string) =>
			`${(await openSource("file", { paths: [path], tensor: name })).schema.fields[0]!.type}`;
		expect(await type("half")).toBe("FixedSizeList[2]<Float16>");
		expect(await type("brain")).toBe("FixedSizeList[2]<Float32>");
	});

	test("MNIST's format is rows of pixels", async () => {
		const path = join(import.meta.dir, "../fixtures/arrays/images-idx3.gz");
		const rows = await rowsFrom(await openSource("file", { paths: [path] }));
		expect(rows.flat()).toEqual(counting(60));
	});

	test.each([
		["a missing file", { paths: ["/nowhere/x.npy"] }, "/nowhere/x.npy: there is no such file"],
		[
			"a pattern that matches nothing",
			{ paths: [join(folder, "*.nothing")] },
			"no file matches this pattern",
		],
		["an array that is not there", { tensor: "y" }, "has no array y; it has: ids i64[1, 5], x f32[5, 2]"],
		["a choice of arrays", { tensor: undefined }, "say which array with --tensor"],
		["rows past the end", { rows: "3:13" }, "there are 12 rows"],
		["rows the wrong way round", { rows: "5:5" }, "A must be below B"],
		["tokens of another length", { tensor: "ids", token_tensor: "x" }, "has 10 values for the 1 rows"],
		[
			"files of two widths",
			{ paths: [parts[0], join(import.meta.dir, "../fixtures/arrays/f4.npy")], tensor: undefined },
			"say which",
		],
		["a folder without shards", { paths: [folder] }, "has no manifest.json, nor have folders in it"],
	])("%s is a clear error", async (_, options, message) => {
		await expect(openSource("file", { paths: parts, tensor: "x", ...options })).rejects.toThrow(message);
	});

	test("files of two widths are refused", async () => {
		const fixtures = join(import.meta.dir, "../fixtures/arrays");
		const paths = [join(fixtures, "f4.npy"), join(fixtures, "one-dimension-f4.npy")];
		await expect(openSource("file", { paths })).rejects.toThrow("join files of one shape");
	});
});
