/** `sae features` as a person types it. */
import { afterAll, beforeAll, expect, test } from "bun:test";
import { mkdtemp, rm } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { Field, Utf8, vectorFromArray } from "apache-arrow";
import { makeBatch } from "../../core/arrow/batch.ts";
import { latentsBatch, latentsSchema } from "../../core/arrow/codes.ts";
import { featuresOf } from "../../core/arrow/features.ts";
import { openArrow } from "../../core/arrow/reader.ts";
import { writeArrowFile } from "../../core/arrow/writer.ts";
import { saveSae } from "../../core/load.ts";
import { each } from "../../core/stream.ts";
import { randomTopK } from "../reference/models.ts";
import { sae, shell } from "./sae.ts";

const DEMO = join(import.meta.dir, "../../demo/data");
const D_SAE = 64;

let folder: string;
let path: string;
beforeAll(async () => {
	folder = await mkdtemp(join(tmpdir(), "sae-cli-features-"));
	path = join(folder, "sae");
	await saveSae({ ...randomTopK(128, D_SAE, 8), metadata: {} }, path);
});
afterAll(() => rm(folder, { recursive: true }));

test("a pipe from a language model to what its latents are", async () => {
	const out = join(folder, "features.arrow");
	const { exitCode, stderr } = await shell(
		`sae activations transformer ${join(DEMO, "model")} --hook-point blocks.1.hook_resid_post --tokens ${join(DEMO, "parity.safetensors")} |
		sae features ${path} --before 3 --after 2 --nearest 4 --logits 3 --out ${out}`,
	);
	expect(exitCode, stderr).toBe(0);
	const stream = await openArrow(out);
	const { metadata } = stream.schema;
	const rows = Number(metadata.get("sae.seen"));
	expect(stderr).toContain(`${rows} rows in `);
	expect(metadata.get("sae.stream")).toBe("features");
	expect(metadata.get("sae.sae")).toBe(path);
	expect(metadata.get("sae.hook_point")).toBe("blocks.1.hook_resid_post");
	expect(metadata.get("sae.command")).toMatch(/^sae activations .* \| sae features /);
	expect(metadata.get("sae.cooccurrence")).toStartWith("exact");
	const features = [];
	for await (const batch of stream.batches) features.push(...featuresOf(batch));
	expect(features.map(({ latent }) => latent)).toEqual([...Array(D_SAE).keys()]);
	const counts = features.reduce((sum, { count }) => sum + count, 0);
	expect(counts).toBeGreaterThan(7 * rows);
	expect(counts).toBeLessThanOrEqual(8 * rows);
	for (const feature of features.filter(({ count }) => count > 0)) {
		expect(feature.density).toBe(feature.count / rows);
		const [first] = feature.top;
		expect(first!.value).toBe(feature.max);
		expect(first!.quantile).toBe(1);
		for (const { values, tokens, texts, at, value } of [...feature.top, ...feature.samples]) {
			expect(values[at]).toBe(value);
			expect(values.length).toBeLessThanOrEqual(6);
			expect([tokens.length, texts.length]).toEqual([values.length, values.length]);
		}
		expect(feature.top_logits).toHaveLength(3);
		expect(feature.top_logits[0]!.logit).toBeGreaterThan(feature.bottom_logits[0]!.logit);
		expect(feature.nearest.length).toBeLessThanOrEqual(4);
		expect(feature.cooccurring.length).toBeGreaterThan(0);
	}
	const { stdout } = await sae([
		"attribute",
		"logits",
		path,
		"--model",
		join(DEMO, "model"),
		"--latent",
		"9",
		"--top",
		"3",
		"--hook-point",
		"blocks.1.hook_resid_post",
		"--format",
		"json",
	]);
	const [logits] = stdout.split("\n").map((line) => line && JSON.parse(line));
	expect(logits.top_logits).toEqual(features[9]!.top_logits);
});

/** Three rows that are texts. */
async function latents(): Promise<string> {
	const file = join(folder, "latents.arrow");
	const schema = latentsSchema([new Field("text", new Utf8(), true)]);
	const codes = {
		rows: 3,
		offsets: Uint32Array.of(0, 1, 3, 3),
		index: Uint32Array.of(5, 5, 6),
		value: Float32Array.of(1, 2, 0.5),
	};
	const text = vectorFromArray(["cats", "dogs", "rain"], new Utf8()).data[0]!;
	const from = makeBatch(schema, 3, [latentsBatch(latentsSchema(), codes).data.children[0]!, text]);
	await writeArrowFile({ schema, batches: each([latentsBatch(schema, codes, from)]) }, file);
	return file;
}

test("latents that are encoded already, whose rows are texts, need no GPU", async () => {
	const file = await latents();
	const words = ["features", path, file, "--nearest", "0"];
	const { stdout, stderr, exitCode } = await sae([...words, "--format", "json"]);
	expect(exitCode, stderr).toBe(0);
	expect(stderr).toContain("names no language model");
	expect(stderr).not.toContain("GPU");
	const features = stdout
		.trimEnd()
		.split("\n")
		.map((line) => JSON.parse(line));
	expect(features).toHaveLength(D_SAE);
	const { top, samples, count, cooccurring, nearest, top_logits } = features[5];
	expect(count).toBe(2);
	expect(top.map(({ texts }: { texts: string[] }) => texts)).toEqual([["dogs"], ["cats"]]);
	expect(samples).toEqual(top);
	expect(top[1].quantile).toBe(0.5);
	expect(cooccurring).toEqual([{ latent: 6, jaccard: 0.5, phi: 0.5 }]);
	expect([nearest, top_logits]).toEqual([[], []]);
	const table = await sae([...words, "--format", "table"]);
	const line = table.stdout.split("\n")[6]!;
	expect(line).toContain('"dogs":2.00 "cats":1.00');
	expect(line.trim().split(/\s+/)[0]).toBe("5");
});

test.each([
	["more memory than is allowed", ["--memory", "0.0001"], "statistics of 64 latents would take 0.00012 GB"],
	[
		"options of activations",
		["--k", "4"],
		"--k and --column are for activations, but the stream is of latents",
	],
])("%s is one line", async (_, words, message) => {
	const { stderr, stdout, exitCode } = await sae(["features", path, await latents(), ...words]);
	const lines = stderr.trimEnd().split("\n");
	expect(lines.at(-1)).toStartWith(`sae: ${message}`);
	expect(stdout).toBe("");
	expect(exitCode).toBeGreaterThan(0);
});
