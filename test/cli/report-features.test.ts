/** The page of features: what it packs, how its list scrolls and searches, and what it refuses. */
import { afterAll, beforeAll, describe, expect, test } from "bun:test";
import { createHash } from "node:crypto";
import { mkdtemp, rm } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { gunzipSync } from "node:zlib";
import { Float32, Utf8, vectorFromArray } from "apache-arrow";
import { bandsOf } from "../../cli/reports/features/app/bands.ts";
import { aligned } from "../../cli/reports/features/app/numbers.ts";
import { ranked } from "../../cli/reports/features/app/ranking.ts";
import { addressOf, routeOf } from "../../cli/reports/features/app/routes.ts";
import { Search } from "../../cli/reports/features/app/search.ts";
import { heat, label, visible } from "../../cli/reports/features/app/text.ts";
import { scrollTo, TALLEST, viewOf } from "../../cli/reports/features/app/virtual.ts";
import { readTraining } from "../../cli/reports/features/curves.ts";
import {
	type Chunk,
	type Labels,
	type Manifest,
	NO_TEXT,
	scoresOf,
} from "../../cli/reports/features/format.ts";
import { mapOf } from "../../cli/reports/features/map.ts";
import { Packer, thinned } from "../../cli/reports/features/pack.ts";
import { makeBatch } from "../../core/arrow/batch.ts";
import { type FeatureExample, featuresBatch, featuresSchema } from "../../core/arrow/features.ts";
import { columnTypes, tableBatch, tableSchema } from "../../core/arrow/metrics.ts";
import { writeArrowFile } from "../../core/arrow/writer.ts";
import { saveSae } from "../../core/load.ts";
import type { MetricRow } from "../../core/plugin.ts";
import { each } from "../../core/stream.ts";
import { randomTopK } from "../reference/models.ts";
import { example, feature, featuresStream, WILD } from "./report-features.ts";
import { sae } from "./sae.ts";

const OPTIONS = { top: 20, samples: 20, context: 64 };

async function packed(count: number, options = OPTIONS) {
	const stream = featuresStream(count);
	const chunks: Chunk[] = [];
	const packer = new Packer(stream.schema, options, async (chunk, number) => {
		chunks[number] = chunk;
	});
	for await (const batch of stream.batches) await packer.add(batch);
	return { chunks, index: await packer.end() };
}

describe("packing", () => {
	test("chunks hold every latent, in order, with its texts", async () => {
		const { chunks, index } = await packed(600);
		expect(index.chunks).toEqual([0, 256, 512]);
		expect(chunks.map(({ latents }) => latents.length)).toEqual([256, 256, 88]);
		const { strings, latents } = chunks[1]!;
		const { top, samples, raised, lowered, nearest, histogram } = latents[257 - 256]!;
		expect(top[0]!.tokens.map((number) => strings[number])).toEqual([" the", " token257", "\n"]);
		expect(top[0]).toMatchObject({ value: 2, at: 1, active: [1, 2], place: "row 101, document 3" });
		expect(samples).toHaveLength(1);
		expect([strings[raised[0]![0]], raised[0]![1], strings[lowered[0]![0]]]).toEqual([WILD, 1.235, "#9"]);
		expect(nearest).toEqual([[258, 0.25]]);
		expect(histogram).toEqual({ start: 0, width: 0.5, counts: [1, 4, 2] });
	});

	test("the index has a number for each column and latent, and tokens that stand for it", async () => {
		const { index } = await packed(21);
		const column = (name: string) => [...index.columns.find((one) => one.name === name)!.values];
		expect(column("latent")).toEqual(Array.from({ length: 21 }, (_, i) => i));
		expect(column("density")[7]).toBeCloseTo(0.007);
		expect(column("encoder_decoder_cosine").slice(2, 4)).toEqual([0.5, Number.NaN]);
		expect(index.labels.tokens[7]).toEqual([" token7", WILD]);
		expect(index.labels.tokens[10]).toEqual([]);
	});

	test("examples are cut to the context and thinned evenly", async () => {
		const texts = Array.from({ length: 9 }, (_, i) => `t${i}`);
		const samples = Array.from({ length: 9 }, (_, i) => example(9 - i, texts, 4));
		const schema = featuresSchema();
		const chunks: Chunk[] = [];
		const packer = new Packer(schema, { top: 1, samples: 3, context: 2 }, async (chunk) => {
			chunks.push(chunk);
		});
		await packer.add(featuresBatch(schema, [feature(1, { samples, top: samples })]));
		await packer.end();
		const [{ strings, latents }] = chunks as [Chunk];
		expect(latents[0]!.top).toHaveLength(1);
		expect(latents[0]!.samples.map(({ value }) => value)).toEqual([9, 5, 1]);
		const { tokens, at } = latents[0]!.samples[0]!;
		expect([tokens.map((number) => strings[number]), at]).toEqual([["t2", "t3", "t4", "t5", "t6"], 2]);
		expect([thinned([1, 2], 5), thinned([1, 2, 3], 1), thinned([1, 2, 3], 0)]).toEqual([[1, 2], [1], []]);
	});

	test("whole texts and rows without any stand in the index by little or nothing", async () => {
		const text = `${"word ".repeat(15)}🦜 and more`;
		const bare = { ...example(1, [""], 0), texts: [], tokens: new Uint32Array() };
		const schema = featuresSchema();
		const chunks: Chunk[] = [];
		const packer = new Packer(schema, OPTIONS, async (chunk) => {
			chunks.push(chunk);
		});
		const of = (latent: number, top: readonly FeatureExample[]) => feature(latent, { top, samples: [] });
		const weak = feature(3, { top: [], samples: [example(1, ["x"], 0)] });
		await packer.add(featuresBatch(schema, [of(1, [example(2, [text], 0)]), of(2, [bare]), weak]));
		const { labels } = await packer.end();
		expect(labels.tokens).toEqual([[`${text.slice(0, 79)}…`], [], ["x"]]);
		const [{ strings, latents }] = chunks as [Chunk];
		expect(latents.slice(0, 2).map(({ top }) => strings[top[0]!.tokens[0]!])).toEqual([text, NO_TEXT]);
	});

	test("columns that others added come along", async () => {
		const batch = featuresBatch(featuresSchema(), [feature(1), feature(2)]);
		const added = [
			vectorFromArray(["about cats", null], new Utf8()),
			vectorFromArray([0.5, null], new Float32()),
		];
		const { fields } = batch.schema;
		const schema = featuresSchema();
		schema.fields.push(
			...["explanation", "score"].map((name, i) =>
				fields[0]!.clone({ name, type: added[i]!.type, nullable: true }),
			),
		);
		const wide = makeBatch(schema, 2, [...batch.data.children, ...added.map(({ data }) => data[0]!)]);
		const packer = new Packer(schema, OPTIONS, async () => {});
		await packer.add(wide);
		const { columns, labels } = await packer.end();
		expect(labels.texts).toEqual({ explanation: ["about cats", null] });
		expect([...columns.find(({ name }) => name === "score")!.values]).toEqual([0.5, Number.NaN]);
		expect(scoresOf([...columns, { name: "x" }, { name: "y" }])).toEqual(["score"]);
	});
});

describe("the list", () => {
	test("shows the rows that are seen, and a few more", () => {
		expect(viewOf(1000, 50, 500, 0)).toEqual({ height: 50_000, first: 0, end: 16, top: 0 });
		expect(viewOf(1000, 50, 500, 25_000)).toEqual({ height: 50_000, first: 494, end: 516, top: 24_700 });
		expect(viewOf(3, 50, 500, 0)).toEqual({ height: 150, first: 0, end: 3, top: 0 });
		expect(viewOf(0, 50, 500, 0)).toEqual({ height: 0, first: 0, end: 0, top: 0 });
	});

	test("reaches both ends of lists that are taller than browsers bear", () => {
		const [count, row, seen] = [2_000_000, 50, 600];
		expect(viewOf(count, row, seen, 0).first).toBe(0);
		const end = viewOf(count, row, seen, TALLEST - seen);
		expect(end).toMatchObject({ height: TALLEST, end: count });
		// The last row ends where the window does.
		expect(end.top + (count - end.first) * row).toBeCloseTo(TALLEST, 3);
	});

	test.each([100, 2_000_000])("scrolls to any of %d rows, and no farther than it must", (count) => {
		const [row, seen] = [50, 600];
		for (const wanted of [0, 7, Math.floor(count / 3), count - 1]) {
			const scrolled = scrollTo(wanted, count, row, seen, 0);
			const { first, top } = viewOf(count, row, seen, scrolled);
			const place = top + (wanted - first) * row - scrolled;
			expect(place).toBeGreaterThanOrEqual(-0.01);
			expect(place).toBeLessThanOrEqual(seen - row + 0.01);
		}
		expect(scrollTo(3, count, row, seen, 10)).toBe(10);
	});

	test("is searched by tokens, explanations and numbers, and sorted by any column", () => {
		const labels: Labels = {
			tokens: [[" Cat", "dog"], ["cat"], ["12"], []],
			texts: { explanation: ["Pets", null, "a dozen", "12 eggs"] },
		};
		const columns = {
			latent: Float64Array.of(5, 6, 7, 12),
			density: Float32Array.of(0.2, 0.01, 0, 0.05),
			score: Float32Array.of(1, Number.NaN, 3, 2),
		};
		const search = new Search({ columns, labels });
		const find = (query: string, column = "latent") => [...search.find(query, column, "ascending")];
		expect(find("cat")).toEqual([0, 1]);
		expect(find("CAT pets")).toEqual([0]);
		expect(find("12")).toEqual([2, 3]);
		expect(find("#6")).toEqual([1]);
		expect(find("is:dead")).toEqual([2]);
		expect(find("is:dense")).toEqual([0]);
		expect(find("nothing")).toEqual([]);
		expect(find("", "score")).toEqual([0, 3, 2, 1]);
		expect([...search.find("", "score", "descending")]).toEqual([2, 3, 0, 1]);
	});
});

test("addresses name what is shown", () => {
	for (const address of ["#overview", "#latents", "#live", "#latent/123"]) {
		expect(addressOf(routeOf(address))).toBe(address);
	}
	expect(routeOf("")).toEqual({ view: "overview" });
	expect(routeOf("#latent/<img>")).toEqual({ view: "overview" });
});

test("what can't be seen is shown, and any activation can be seen", () => {
	expect([visible("a\n\tb"), visible("  "), visible(" a"), visible("")]).toEqual(["a↵⇥b", "␣ ", " a", ""]);
	expect([label(" the"), label("\n")]).toEqual(["the", "↵"]);
	// Nothing turns the text round, and what takes no room is named where it stands alone.
	expect([visible("\0\x1b[1m"), visible("\u202eevil\u202c"), visible("\u2028"), visible("\x85")]).toEqual([
		"␀␛[1m",
		"⟨202E⟩evil⟨202C⟩",
		"↵",
		"⟨0085⟩",
	]);
	expect([visible("\u200b"), visible("a\u200db"), visible("مرحبا")]).toEqual(["⟨200B⟩", "a\u200db", "مرحبا"]);
	expect([heat(4, 4), heat(0, 0)]).toEqual([1, 0]);
	expect(heat(0.001, 4)).toBeGreaterThan(0.1);
});

test("numbers below each other have the same decimals", () => {
	expect([3.71, 0.5, -12].map((value) => aligned(value, 3.774))).toEqual(["3.710", "0.500", "-12.000"]);
	expect([aligned(0.0125, 0.04), aligned(12345.6, 99999), aligned(5, 1e7)]).toEqual([
		"0.01250",
		"12346",
		"5",
	]);
	expect([aligned(2e-9, 2e-9), aligned(1, 0)]).toEqual(["2.00e-9", "1"]);
});

test("latents of a text rank by their share of what they are known for", () => {
	const active = [
		[7, 1],
		[8, 3],
		[9, -4],
		[7, 2],
		[5, 6],
	].map(([latent, value]) => ({ latent: latent!, value: value! }));
	const largest = new Map([
		[7, 2],
		[8, 6],
		[9, 5],
		[5, 3],
	]);
	const found = ranked([...active, { latent: 6, value: 0.1 }], (latent) => largest.get(latent));
	expect(found.map(({ latent, value, share }) => [latent, value, share])).toEqual([
		[5, 6, 1],
		[7, 2, 1],
		[6, 0.1, 1],
		[9, -4, 0.8],
		[8, 3, 0.5],
	]);
});

test("samples fall into bands by their rank", () => {
	const sample = (quantile: number) => ({ quantile, value: 1, place: "", at: 0, tokens: [], active: [] });
	const bands = bandsOf([1, 0.81, 0.5, 0].map(sample));
	expect(bands.map(({ from, to, list }) => [from, to, list.length])).toEqual([
		[80, 100, 2],
		[40, 60, 1],
		[0, 20, 1],
	]);
});

describe("the map", () => {
	/** Rows about two directions, with norms that say nothing. */
	const decoder = Float32Array.from({ length: 40 * 4 }, (_, i) => {
		const [row, d] = [Math.floor(i / 4), i % 4];
		const main = d === (row < 20 ? 0 : 1) ? 1 : 0;
		return (row + 1) * (main + 0.1 * Math.sin(7 * i));
	});
	const latents = Array.from({ length: 40 }, (_, i) => i);

	test.each(["pca", "umap"] as const)("%s keeps two groups apart, the same way each time", (kind) => {
		const { x, y } = mapOf(kind, decoder, 4, latents);
		expect(mapOf(kind, decoder, 4, latents).x).toEqual(x);
		const centre = (values: Float32Array, from: number) =>
			values.subarray(from, from + 20).reduce((sum, value) => sum + value, 0) / 20;
		const [a, b] = [0, 20].map((from) => [centre(x, from), centre(y, from)] as const);
		const apart = Math.hypot(a![0] - b![0], a![1] - b![1]);
		for (const [from, [cx, cy]] of [
			[0, a!],
			[20, b!],
		] as const) {
			for (let i = from; i < from + 20; i++) {
				expect(Math.hypot(x[i]! - cx, y[i]! - cy)).toBeLessThan(apart / 2);
			}
		}
		expect(Math.max(...x.map(Math.abs), ...y.map(Math.abs))).toBeCloseTo(1, 5);
	});
});

function table(rows: MetricRow[]) {
	const schema = tableSchema(columnTypes(rows));
	return { schema, batches: each([tableBatch(schema, rows)]) };
}

test("training curves come of the metrics of one SAE", async () => {
	const rows = [1, 2].map((step) => ({
		sae: "a",
		tokens: 100 * step,
		fvu: 1 / step,
		l0: 4,
		eval_fvu: step > 1 ? 0.6 : null,
	}));
	const { curves, last } = await readTraining(table(rows), "m");
	expect(curves).toEqual([
		{
			name: "fvu",
			points: [
				[100, 1],
				[200, 0.5],
			],
		},
		{
			name: "l0",
			points: [
				[100, 4],
				[200, 4],
			],
		},
	]);
	expect(last).toEqual({ fvu: 0.5, l0: 4, eval_fvu: 0.6 });
	const two = ["a", "b"].map((sae) => ({ sae, tokens: 1, fvu: 1 }));
	expect(readTraining(table(two), "m.arrow")).rejects.toThrow("m.arrow: has the metrics of 2 SAEs (a, b, …)");
	expect(readTraining(table([{ fvu: 1 }]), "m.arrow")).rejects.toThrow("m.arrow: has no column tokens");
});

describe("sae report features", () => {
	let folder: string;
	const path = (name: string) => join(folder, name);
	beforeAll(async () => {
		folder = await mkdtemp(join(tmpdir(), "sae-features-page-"));
		await saveSae(
			{ ...randomTopK(6, 300, 3), metadata: { hook_name: "blocks.0.hook_resid_pre" } },
			path("sae"),
		);
		const metadata = { "sae.seen": "4096", "sae.model": WILD, "sae.command": WILD };
		await writeArrowFile(featuresStream(300, metadata), path("features.arrow"));
		await writeArrowFile(featuresStream(301), path("more.arrow"));
		await writeArrowFile(table([{ tokens: 1, fvu: 1 }]), path("table.arrow"));
	});
	afterAll(() => rm(folder, { recursive: true }));

	test("writes one file whose parts unpack, and in which nothing of others' text is markup", async () => {
		const out = path("page.html");
		const ended = await sae([
			"report",
			"features",
			path("sae"),
			path("features.arrow"),
			"--title",
			WILD,
			"--out",
			out,
		]);
		expect(ended).toMatchObject({ exitCode: 0, stdout: "" });
		expect(ended.stderr).toMatch(/page\.html has \d+\.\d MB/);
		const page = await Bun.file(out).text();
		expect(page).not.toContain("<img");
		const { script, elements } = await read(page);
		const manifest = elements.get("manifest") as Manifest;
		expect(manifest).toMatchObject({
			title: WILD,
			rows: 300,
			d_sae: 300,
			seen: 4096,
			chunks: [0, 256],
			map: "umap",
		});
		expect(manifest.facts).toContainEqual(["language model", WILD]);
		expect(manifest.commands).toEqual([["statistics", WILD]]);
		expect((elements.get("latents-1") as Chunk).latents).toHaveLength(44);
		expect((elements.get("labels") as Labels).tokens).toHaveLength(300);
		expect(manifest.live).toMatchObject({
			hookPoint: "blocks.0.hook_resid_pre",
			inference: { select: { kind: "topk", k: 3 } },
			embedded: { sae: { pieces: 1 } },
		});
		expect(manifest.live!.tensors.map(({ name }) => name)).not.toContain("W_dec");
		// No address to fetch from, and no script but this one.
		const policy = /Content-Security-Policy" content="([^"]+)"/.exec(page)![1]!;
		const hash = createHash("sha256").update(script).digest("base64");
		expect(policy).toStartWith(`default-src 'none'; script-src 'sha256-${hash}'; style-src 'sha256-`);
		expect(page.match(/<script type="module"/g)).toHaveLength(1);
	});

	test("does without a language model that can't be run, and says so", async () => {
		const out = path("modelless.html");
		const words = [
			"report",
			"features",
			path("sae"),
			path("features.arrow"),
			"--map",
			"none",
			"--model",
			folder,
		];
		const { exitCode, stderr } = await sae([...words, "--out", out]);
		expect(exitCode).toBe(0);
		expect(stderr).toContain(
			`[warn] the page holds no language model: ${path("config.json")}: there is no such file`,
		);
		expect(stderr).toContain("to encode text, the page asks for the language model's files");
		const { exitCode: refused } = await sae([
			...words,
			"--embed-model",
			"always",
			"--out",
			path("none.html"),
		]);
		expect(refused).toBe(3);
	});

	test("goes through a pipe, without what is not wanted", async () => {
		const words = [
			"report",
			"features",
			path("sae"),
			path("features.arrow"),
			"--map",
			"none",
			"--embed-sae",
			"never",
		];
		const { stdout, exitCode } = await sae(words);
		expect(exitCode).toBe(0);
		const { elements } = await read(stdout);
		expect(elements.get("manifest")).toMatchObject({ live: { embedded: {} } });
		expect((elements.get("manifest") as Manifest).map).toBeUndefined();
		expect(elements.has("sae-0")).toBe(false);
	});

	test.each([
		[["more.arrow"], "the stream has the latent 300, but sae has 300: is it of this SAE?", 3],
		[["table.arrow"], "is a stream of metrics, but features are needed", 3],
		[["features.arrow", "--model", "nowhere"], "nowhere: there is no such folder", 3],
		[["features.arrow", "--embed-model", "always"], "--embed-model always needs the model's folder", 2],
		[["features.arrow", "--map", "tsne"], "--map", 2],
	] as const)("refuses %p", async ([file, ...more], message, code) => {
		const out = path("refused.html");
		const ended = await sae(["report", "features", path("sae"), path(file!), ...more, "--out", out]);
		expect(ended.stderr).toContain(message);
		expect(ended.exitCode).toBe(code);
		expect(await Bun.file(out).exists()).toBe(false);
	});
});

/** The program of a page, and what its elements of JSON hold, by their ids. */
async function read(page: string): Promise<{ script: string; elements: Map<string, unknown> }> {
	const elements = new Map<string, unknown>();
	for (const [, id, data] of page.matchAll(
		/<script type="application\/octet-stream" id="([^"]+)">([^<]*)<\/script>/g,
	)) {
		const bytes = gunzipSync(Buffer.from(data!, "base64"));
		elements.set(id!, /^(manifest|labels|latents-\d+)$/.test(id!) ? JSON.parse(bytes.toString()) : bytes);
	}
	return { script: /<script type="module">([\s\S]*?)<\/script>/.exec(page)![1]!, elements };
}
