/** The source that runs a language model: what goes in, which rows come out, and where they say they are from. */
import { afterAll, beforeAll, describe, expect, test } from "bun:test";
import { mkdtemp, rm } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { Field, List, Schema, Uint32, Utf8, vectorFromArray } from "apache-arrow";
import { makeBatch } from "../../core/arrow/batch.ts";
import { vectorColumn } from "../../core/arrow/vectors.ts";
import { writeArrowFile } from "../../core/arrow/writer.ts";
import { checkSource } from "../../core/conformance/index.ts";
import { openSafetensors, readFloat32, writeSafetensors } from "../../core/files/safetensors.ts";
import { type Gpu, openGpu } from "../../core/gpu/device.ts";
import { contextsOf, type Packing } from "../../core/model/text/contexts.ts";
import { readDocuments } from "../../core/model/text/documents.ts";
import type { ActivationSource } from "../../core/plugin.ts";
import { createRegistry } from "../../core/registry.ts";
import { META } from "../../core/stream.ts";
import { plugins } from "../../plugins/index.ts";
import transformer from "../../plugins/source-transformer.ts";
import { context } from "./sources.ts";

const DEMO = join(import.meta.dir, "../../demo/data");
const MODEL = join(DEMO, "model");

let gpu: Gpu;
let folder: string;
beforeAll(async () => {
	gpu = await openGpu();
	folder = await mkdtemp(join(tmpdir(), "sae-transformer-"));
});
afterAll(async () => {
	gpu.close();
	await rm(folder, { recursive: true });
});

const open = async (options: Record<string, unknown>): Promise<ActivationSource> => {
	const source = (await createRegistry(plugins).find("source", "transformer"))!;
	const given = { model: MODEL, hook_point: ["blocks.0.hook_resid_pre"], ...options };
	return source.open(source.options.parse(given), { ...context, gpu: async () => gpu });
};

interface Row {
	readonly token: number;
	readonly document: number;
	readonly position: number;
	readonly layer?: number;
}

/** The rows without their vectors. */
async function labels(source: ActivationSource, start = 0): Promise<Row[]> {
	const rows: Row[] = [];
	for await (const batch of source.batches(start)) {
		const names = batch.schema.fields.map(({ name }) => name).filter((name) => /^[a-z]+$/.test(name));
		const columns = names.filter((name) => name !== "activation");
		for (let row = 0; row < batch.numRows; row++) {
			rows.push(
				Object.fromEntries(columns.map((name) => [name, batch.getChild(name)!.get(row)])) as unknown as Row,
			);
		}
	}
	return rows;
}

async function vectors(source: ActivationSource, column: string): Promise<number[]> {
	const values: number[] = [];
	for await (const batch of source.batches(0)) {
		const { data } = vectorColumn(batch, column);
		values.push(...(data instanceof Float32Array ? data : new Float16Array(data.slice().buffer)));
	}
	return values;
}

const write = async (name: string, content: string | Uint8Array) => {
	const path = join(folder, name);
	await Bun.write(path, content);
	return path;
};

const tensor = (name: string, rows: number[][]) =>
	({
		name,
		dtype: "i32",
		shape: [rows.length, rows[0]!.length],
		data: Int32Array.from(rows.flat()),
	}) as const;

describe("token ids", () => {
	test("give the values that transformers gave, several hook points as columns", async () => {
		const parity = await openSafetensors(join(DEMO, "parity.safetensors"));
		const points = ["blocks.0.hook_resid_pre", "h.1"];
		const source = await open({ hook_point: points, tokens: [parity.path] });
		expect(source.schema.metadata.get(META.model)).toBe(MODEL);
		expect(source.schema.metadata.get(META.hookPoint)).toBe(points.join(","));
		for (const [column, stored] of [
			[points[0]!, "blocks.0.hook_resid_pre"],
			[points[1]!, "blocks.2.hook_resid_pre"],
		] as const) {
			const found = await vectors(source, column);
			const wanted = await readFloat32(parity, stored);
			expect(found.length).toBe(wanted.length);
			for (const [i, value] of wanted.entries()) expect(Math.abs(found[i]! - value)).toBeLessThan(1e-4);
		}
		await parity.close();
	});

	test("layers as rows, in float16", async () => {
		const path = join(folder, "layers.safetensors");
		await writeSafetensors(path, [tensor("input_ids", [[5, 6, 7]])]);
		const layers = { hook_point: ["blocks.*.hook_resid_post"], tokens: [path] };
		const source = await open({ ...layers, layer_rows: true, dtype: "float16" });
		const rows = await labels(source);
		expect(rows.map(({ token }) => token)).toEqual([5, 5, 5, 6, 6, 6, 7, 7, 7]);
		expect(rows.map(({ layer }) => layer)).toEqual([0, 1, 2, 0, 1, 2, 0, 1, 2]);
		const apart = await vectors(await open(layers), "blocks.1.hook_resid_post");
		const together = await vectors(source, "activation");
		for (let token = 0; token < 3; token++) {
			const row = together.slice((3 * token + 1) * 128, (3 * token + 2) * 128);
			for (const [i, value] of row.entries()) expect(value).toBeCloseTo(apart[token * 128 + i]!, 2);
		}
	});

	test("padding and what a mask hides give no rows", async () => {
		const path = join(folder, "masked.safetensors");
		const ids = tensor("input_ids", [
			[1, 2, 3, 0],
			[0, 0, 8, 9],
		]);
		const mask = tensor("attention_mask", [
			[1, 1, 1, 0],
			[0, 0, 1, 1],
		]);
		await writeSafetensors(path, [ids, mask]);
		const source = await open({ tokens: [path] });
		expect(source.rows).toBe(5);
		const more = { epochs: 3, hook_point: ["blocks.*.hook_resid_pre"], layer_rows: true, limit: 7 };
		expect((await open({ tokens: [path], ...more })).rows).toBe(21);
		const rows = await labels(source);
		expect(rows.map(({ token }) => token)).toEqual([1, 2, 3, 8, 9]);
		expect(rows.map(({ position }) => position)).toEqual([0, 1, 2, 0, 1]);
		expect(rows.map(({ document }) => document)).toEqual([0, 0, 0, 1, 1]);
	});

	test("that the model lacks are named with their row", async () => {
		const path = join(folder, "beyond.safetensors");
		await writeSafetensors(path, [
			tensor("input_ids", [
				[1, 2],
				[3, 70_000],
			]),
		]);
		await expect(open({ tokens: [path] }).then(labels)).rejects.toThrow(
			/beyond.safetensors: input_ids, row 1: token id 70000: the model has the ids 0 to \d+$/,
		);
	});

	test("of an Arrow column of lists, cut into contexts", async () => {
		const type = new List(new Field("item", new Uint32()));
		const column = vectorFromArray([[4, 5, 6, 7, 8], [], [9]], type);
		const schema = new Schema([new Field("ids", type)]);
		const path = join(folder, "ids.arrow");
		async function* batches() {
			yield makeBatch(schema, 3, [column.data[0]!]);
		}
		await writeArrowFile({ schema, batches: batches() }, path);
		const rows = await labels(await open({ tokens: [path], tokens_name: "ids", context: 3 }));
		expect(rows.map(({ token }) => token)).toEqual([4, 5, 6, 7, 8, 9]);
		expect(rows.map(({ position }) => position)).toEqual([0, 1, 2, 0, 1, 0]);
		expect(rows.map(({ document }) => document)).toEqual([0, 0, 0, 0, 0, 2]);
		await expect(open({ tokens: [path] }).then(labels)).rejects.toThrow(
			"has no column input_ids (--tokens-name)",
		);
		const gaps = join(folder, "gaps.arrow");
		const holed = vectorFromArray([[4], [5, null]], new List(new Field("item", new Uint32(), true)));
		const holedSchema = new Schema([new Field("ids", holed.type)]);
		async function* holedBatches() {
			yield makeBatch(holedSchema, 2, [holed.data[0]!]);
		}
		await writeArrowFile({ schema: holedSchema, batches: holedBatches() }, gaps);
		await expect(open({ tokens: [gaps], tokens_name: "ids" }).then(labels)).rejects.toThrow(
			"gaps.arrow: column ids, row 1: null is no token id",
		);
	});
});

describe("text", () => {
	const TEXTS = ["A short one.", "", "And another, which goes on for longer than that."];
	const tokensOf = async (options: Record<string, unknown>) =>
		(await labels(await open({ packing: "document", ...options }))).map(
			({ token, document }) => [document, token] as const,
		);

	test("is the same from every kind of file", async () => {
		const plain = await write("a.txt", TEXTS.join("<|endoftext|>"));
		const wanted = await tokensOf({ text: [plain], delimiter: "<|endoftext|>" });
		expect(new Set(wanted.map(([document]) => document))).toEqual(new Set([0, 2]));
		const jsonl = await write("a.jsonl", TEXTS.map((text) => JSON.stringify({ text })).join("\n"));
		expect(await tokensOf({ text: [jsonl] })).toEqual(wanted);
		const schema = new Schema([new Field("body", new Utf8())]);
		const column = vectorFromArray(TEXTS, new Utf8());
		const arrow = join(folder, "a.arrow");
		async function* batches() {
			yield makeBatch(schema, TEXTS.length, [column.data[0]!]);
		}
		await writeArrowFile({ schema, batches: batches() }, arrow);
		expect(await tokensOf({ text: [arrow], text_field: "body" })).toEqual(wanted);
		await expect(open({ text: [arrow] }).then(labels)).rejects.toThrow(
			"has no column text (--text-field); it has: body",
		);
	});

	test("of all files that a pattern matches", async () => {
		for (const name of ["part-10.txt", "part-9.txt"]) await write(name, `${name} is read.`);
		const paths = [join(folder, "part-9.txt"), join(folder, "part-10.txt")];
		expect(await tokensOf({ text: [join(folder, "part-*.txt")] })).toEqual(await tokensOf({ text: paths }));
		await expect(open({ text: [join(folder, "nothing-*.txt")] })).rejects.toThrow(
			"no file matches this pattern",
		);
	});

	test("is cut at delimiters wherever a file is read in pieces", async () => {
		const long = "x".repeat(100_000);
		const texts = ["a", "", `${long}<|endof`, `<${long}`, "e<|"];
		const path = await write("pieces.txt", texts.join("<|endoftext|>"));
		const options = { format: "plain", field: "text", delimiter: "<|endoftext|>" } as const;
		expect(await Array.fromAsync(readDocuments([path], options))).toEqual(texts);
		const thousand = "abc,".repeat(50_000);
		const commas = await write("commas.txt", thousand);
		const many = await Array.fromAsync(readDocuments([commas], { ...options, delimiter: "," }));
		expect([many.length, new Set(many)]).toEqual([50_000, new Set(["abc"])]);
	});

	test("of Parquet", async () => {
		const parquet = join(import.meta.dir, "../fixtures/text/texts.parquet");
		const plain = await write("b.txt", TEXTS.join("<|endoftext|>"));
		expect(await tokensOf({ text: [parquet] })).toEqual(
			await tokensOf({ text: [plain], delimiter: "<|endoftext|>" }),
		);
	});

	test("that is none is refused by line", async () => {
		const bad = await write("bad.jsonl", '{"text": "good"}\n{"txt": 3}\n');
		await expect(open({ text: [bad] }).then(labels)).rejects.toThrow(
			"bad.jsonl: line 2: has no text in text (--text-field)",
		);
		const latin = await write("latin.txt", Uint8Array.from([72, 0xe9, 33]));
		await expect(open({ text: [latin] }).then(labels)).rejects.toThrow("latin.txt: is not text in UTF-8");
		const parquet = await write("bad.parquet", "PAR1 and nothing more");
		await expect(open({ text: [parquet] }).then(labels)).rejects.toThrow(
			"bad.parquet: this Parquet file can't be read",
		);
	});

	test("special tokens are seen by the model but give no rows", async () => {
		const plain = await write("c.txt", "one. two.");
		const all = await labels(await open({ text: [plain], delimiter: " ", bos: "always" }));
		const kept = await labels(
			await open({ text: [plain], delimiter: " ", bos: "always", drop_special: true }),
		);
		expect(all[0]).toEqual({ token: 0, document: 0, position: 0 });
		expect(kept).toEqual(all.filter(({ token }) => token !== 0));
		expect(kept[0]!.position).toBe(1);
		expect(kept.length).toBe(all.length - 3);
	});
});

describe("packing", () => {
	/** A token per letter. */
	const tokenizer = {
		encode: (text: string) => Uint32Array.from(text, (letter) => letter.charCodeAt(0) - 96),
	};
	const contexts = async (texts: string[], packing: Partial<Packing>) => {
		async function* documents() {
			yield* texts;
		}
		const all = { length: 4, bos: undefined, separator: undefined, pack: true, ...packing };
		return Array.fromAsync(contextsOf(documents(), tokenizer, all), ({ tokens, documents }) => [
			[...tokens],
			[...documents],
		]);
	};

	test("goes on with the next document, behind a separator", async () => {
		expect(await contexts(["abc", "", "defg"], { separator: 99 })).toEqual([
			[
				[1, 2, 3, 99],
				[0, 0, 0, 0],
			],
			[
				[4, 5, 6, 7],
				[2, 2, 2, 2],
			],
			[[99], [2]],
		]);
	});

	test("begins each context with BOS, which takes a place", async () => {
		expect(await contexts(["abcde"], { bos: 98 })).toEqual([
			[
				[98, 1, 2, 3],
				[0, 0, 0, 0],
			],
			[
				[98, 4, 5],
				[0, 0, 0],
			],
		]);
	});

	test("or gives each document contexts of its own", async () => {
		expect(await contexts(["ab", "cdefg"], { pack: false })).toEqual([
			[
				[1, 2],
				[0, 0],
			],
			[
				[3, 4, 5, 6],
				[1, 1, 1, 1],
			],
			[[7], [1]],
		]);
	});
});

test("keeps what sources promise, from every row on", async () => {
	const path = join(folder, "promise.safetensors");
	const ids = Array.from({ length: 5 }, (_, row) => Array.from({ length: 9 }, (_, i) => 30 * row + i));
	await writeSafetensors(path, [tensor("input_ids", ids)]);
	const options = {
		model: MODEL,
		hook_point: ["blocks.0.hook_resid_pre"],
		tokens: [path],
		batch_tokens: 20,
		context: 9,
	};
	await checkSource(transformer, { options });
	await checkSource(transformer, { options: { ...options, epochs: 3, limit: 40 } });
});

test("options that do not go together", async () => {
	const tokens = [join(DEMO, "parity.safetensors")];
	await expect(open({})).rejects.toThrow("give either --tokens FILE or --text FILE");
	await expect(open({ tokens, text: tokens })).rejects.toThrow("give either --tokens FILE or --text FILE");
	await expect(open({ tokens, bos: "always" })).rejects.toThrow(
		"--bos always: is for --text; token ids ready made are taken as they are",
	);
	await expect(open({ tokens, context: 129 })).rejects.toThrow("the model was made for 128 positions");
	await expect(open({ tokens, hook_point: ["blocks.0.nothing"] })).rejects.toThrow(
		"this model has none of that name",
	);
	const uneven = ["blocks.0.hook_resid_pre", "blocks.0.mlp.hook_post"];
	await expect(open({ tokens, hook_point: uneven, layer_rows: true })).rejects.toThrow("rows have one width");
	await expect(open({ tokens, hook_point: ["hook_embed"], layer_rows: true })).rejects.toThrow(
		"must be in a layer",
	);
	const source = await open({ tokens });
	await expect(labels(source, 33)).rejects.toThrow("--start 33: there are only 32 rows");
});

test("half precision says where it changes nothing", async () => {
	const source = (await createRegistry(plugins).find("source", "transformer"))!;
	const tokens = [join(DEMO, "parity.safetensors")];
	const given = {
		model: MODEL,
		hook_point: ["blocks.0.hook_resid_pre"],
		tokens,
		limit: 1,
		precision: "half",
	};
	const warned: string[] = [];
	const log = { ...context.log, warn: (message: string) => void warned.push(message) };
	const opened = await source.open(source.options.parse(given), { ...context, log, gpu: async () => gpu });
	await labels(opened);
	expect(warned).toHaveLength(gpu.halfProduct ? 0 : 1);
});
