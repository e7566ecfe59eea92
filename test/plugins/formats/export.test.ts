/** SAEs into other libraries' formats and back: exact, or refused with the reason. */
import { afterAll, beforeAll, describe, expect, test } from "bun:test";
import { mkdtemp, readdir, rm } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { builtIn } from "../../../core/built-in.ts";
import { convert, type Outcome, verdict } from "../../../core/convert.ts";
import { SaeError } from "../../../core/errors.ts";
import { openTensorFile } from "../../../core/files/open.ts";
import { type Gpu, openGpu } from "../../../core/gpu/device.ts";
import { loadSae } from "../../../core/load.ts";
import { openSae } from "../../../core/open-sae.ts";
import type { SaeModel } from "../../../core/sae.ts";

const FIXTURES = join(import.meta.dir, "../../fixtures/formats");

let gpu: Gpu;
let folder: string;
beforeAll(async () => {
	gpu = await openGpu();
	folder = await mkdtemp(join(tmpdir(), "sae-export-"));
});
afterAll(async () => {
	gpu.close();
	await rm(folder, { recursive: true });
});

const load = (fixture: string) =>
	loadSae(join(FIXTURES, fixture, fixture.startsWith("openai") ? "3.pt" : ""));

async function exported(
	format: string,
	model: SaeModel,
	name = format,
): Promise<{ path: string; outcome: Outcome }> {
	const registry = await builtIn();
	const exporter = (await registry.find("exporter", format))!;
	const path = join(folder, name.replaceAll("/", " "));
	const outcome = await convert(model, path, () => exporter.write(model, path, exporter.options.parse({})), {
		registry,
		open: (one) => openSae(one, { gpu }),
	});
	return { path, outcome };
}

test.each([
	["dictionary-learning", "dictionary-learning/autoencoder"],
	["dictionary-learning", "dictionary-learning/autoencoder-new"],
	["dictionary-learning", "dictionary-learning/gated"],
	["dictionary-learning", "dictionary-learning/jumprelu"],
	["dictionary-learning", "dictionary-learning/topk"],
	["dictionary-learning", "dictionary-learning/batch-topk"],
	["dictionary-learning", "sparsify/topk"],
	["dictionary-learning", "gemma-scope/1"],
	["sparsify", "sparsify/topk"],
	["sparsify", "sparsify/groupmax"],
	["sparsify", "sparsify/transcoder"],
	["sparsify", "dictionary-learning/topk"],
	["gemma-scope", "gemma-scope/1"],
	["gemma-scope", "dictionary-learning/jumprelu"],
	["safetensors", "openai/topk"],
	["safetensors", "sparsify/transcoder"],
	["safetensors", "saelens/average-lost"],
	["saelens", "openai/topk"],
	["saelens", "saelens/constant-norm"],
	["saelens", "gemma-scope/2-transcoder"],
	["native", "sparsify/groupmax"],
])("%s keeps %s bit by bit", async (format, fixture) => {
	const model = await load(fixture);
	const { path, outcome } = await exported(format, model, `${format} ${fixture}`);
	expect(verdict(outcome).lossless).toBe(true);
	const again = await loadSae(path);
	expect(again.tensors).toEqual(model.tensors);
	for (const key of ["architecture", "apply_b_dec_to_input", "normalize_activations"] as const) {
		expect(again[key]).toBe(model[key]);
	}
});

describe("where b_dec is taken from the input", () => {
	test.each([
		["gemma-scope", "dictionary-learning/batch-topk"],
		["gemma-scope", "dictionary-learning/autoencoder"],
		["dictionary-learning", "llama-scope/llamascopium-topk"],
		["sparsify", "llama-scope/llamascopium-topk"],
	])("%s has %s up to rounding, and says so", async (format, fixture) => {
		const given = await load(fixture);
		// A b_dec of zeros would change nothing.
		const b_dec = { shape: [6], data: new Float32Array([1, -0.5, 0.25, 2, 0.1, -1]) };
		const model = { ...given, tensors: { ...given.tensors, b_dec } };
		const { outcome } = await exported(format, model, `${format} of ${fixture}`);
		const { lossless, text } = verdict(outcome);
		expect(lossless).toBe(false);
		expect(text).toContain("the same up to rounding on 64 rows");
	});
});

test.each([
	["sparsify", "gemma-scope/1", "sparsify has no architecture that encodes as jumprelu does (it has topk,"],
	["sparsify", "llama-scope/llamascopium", "this transcoder has no k"],
	["sparsify", "openai/topk", "no place for the input step layer_norm"],
	["dictionary-learning", "sparsify/groupmax", "no architecture that encodes as groupmax does"],
	["dictionary-learning", "sparsify/transcoder", "no architecture that encodes as transcoder does"],
	["dictionary-learning", "saelens/average-lost", "no place for the input step expected_average_only_in"],
	["gemma-scope", "sparsify/topk", "Gemma Scope has no architecture that encodes as topk does"],
	["gemma-scope", "sparsify/transcoder", "has thresholds, and this SAE keeps k latents"],
	["gemma-scope", "gemma-scope/2-transcoder", "has no skip connection"],
	["saelens", "sparsify/groupmax", "SAELens has no architecture like groupmax"],
])("%s refuses %s with the reason, and writes nothing", async (format, fixture, message) => {
	const attempt = exported(format, await load(fixture), "refused");
	await expect(attempt).rejects.toThrow(SaeError);
	await expect(attempt).rejects.toThrow(message);
	expect((await readdir(folder)).filter((name) => name.startsWith("refused"))).toEqual([]);
});

describe("converting", () => {
	test("calls another SAE another SAE", async () => {
		const model = await load("dictionary-learning/topk");
		const registry = await builtIn();
		const exporter = (await registry.find("exporter", "native"))!;
		const path = join(folder, "broken");
		const wrong = { ...model, settings: { k: 2 } };
		const write = () => exporter.write(wrong, path, { dtype: "float32" });
		const open = (one: SaeModel) => openSae(one, { gpu });
		await expect(convert(model, path, write, { registry, open })).rejects.toThrow("do not use it");
	});

	test("to narrower floats is not lossless", async () => {
		const model = await load("dictionary-learning/gated");
		const registry = await builtIn();
		const exporter = (await registry.find("exporter", "saelens"))!;
		const path = join(folder, "narrow");
		const write = () => exporter.write(model, path, { dtype: "float16" });
		const outcome = await convert(model, path, write, { registry, open: (one) => openSae(one, { gpu }) });
		expect(verdict(outcome)).toMatchObject({
			lossless: false,
			text: expect.stringContaining("not lossless on 64 rows"),
		});
	});
});

describe("files as their libraries have them", () => {
	const arrays = async (path: string) => {
		const file = await openTensorFile(path);
		await file.close();
		return Object.fromEntries(
			[...file.tensors.values()].map(({ name, dtype, shape }) => [name, [dtype, shape]]),
		);
	};

	test("dictionary_learning's", async () => {
		const { path } = await exported(
			"dictionary-learning",
			await load("dictionary-learning/topk"),
			"layout dl",
		);
		expect((await readdir(path)).toSorted()).toEqual(["ae.pt", "config.json"]);
		expect(await arrays(join(path, "ae.pt"))).toEqual({
			b_dec: ["f32", [6]],
			k: ["i32", []],
			threshold: ["f32", []],
			"encoder.weight": ["f32", [16, 6]],
			"encoder.bias": ["f32", [16]],
			"decoder.weight": ["f32", [6, 16]],
		});
		const { trainer, buffer } = await Bun.file(join(path, "config.json")).json();
		expect(trainer).toMatchObject({
			dict_class: "AutoEncoderTopK",
			k: 3,
			activation_dim: 6,
			dict_size: 16,
			layer: 3,
		});
		expect(buffer.ctx_len).toBe(128);
	});

	test("sparsify's", async () => {
		const { path } = await exported("sparsify", await load("sparsify/transcoder"), "layout sparsify");
		expect(await Bun.file(join(path, "cfg.json")).json()).toEqual({
			activation: "topk",
			expansion_factor: 16 / 6,
			normalize_decoder: false,
			num_latents: 16,
			k: 3,
			multi_topk: false,
			skip_connection: true,
			transcode: true,
			d_in: 6,
		});
		expect(Object.keys(await arrays(join(path, "sae.safetensors"))).toSorted()).toEqual([
			"W_dec",
			"W_skip",
			"b_dec",
			"encoder.bias",
			"encoder.weight",
		]);
	});

	test("Gemma Scope's", async () => {
		const { path } = await exported("gemma-scope", await load("gemma-scope/1"), "layout.npz");
		expect(await arrays(path)).toEqual({
			W_enc: ["f32", [6, 16]],
			W_dec: ["f32", [16, 6]],
			b_enc: ["f32", [16]],
			b_dec: ["f32", [6]],
			threshold: ["f32", [16]],
		});
	});
});
