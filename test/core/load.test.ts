import { afterAll, beforeAll, describe, expect, test } from "bun:test";
import { cp, mkdir, mkdtemp, rm, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { loadSae, saveSae } from "../../core/load.ts";
import { randomTopK } from "../reference/models.ts";

const FORMATS = join(import.meta.dir, "../fixtures/formats");

let folder: string;
beforeAll(async () => {
	folder = await mkdtemp(join(tmpdir(), "sae-load-"));
});
afterAll(() => rm(folder, { recursive: true }));

describe("loadSae", () => {
	test("reads what saveSae wrote", async () => {
		const sae = randomTopK(5, 8, 2);
		const path = join(folder, "native");
		await saveSae(sae, path);
		const { metadata, ...loaded } = await loadSae(path);
		const { metadata: _, ...saved } = sae;
		expect(loaded).toEqual(saved);
		expect(metadata).toEqual({ sae_lens_version: "6.0.0" });
	});

	test.each([
		["sparsify/topk/sae.safetensors", "sparsify/topk"],
		["saelens/6-topk/sae_weights.safetensors", "saelens/6-topk"],
		["gemma-scope/2/params.safetensors", "gemma-scope/2"],
		["llama-scope/1/checkpoints/final.safetensors", "llama-scope/1"],
	])("names the folder that %s is a part of", async (file, around) => {
		await expect(loadSae(join(FORMATS, file))).rejects.toThrow(
			`is a part of the SAE in ${join(FORMATS, around)}; name the folder`,
		);
	});

	test("says which description weights lack", async () => {
		const path = join(folder, "gemma");
		await mkdir(path);
		await cp(join(FORMATS, "gemma-scope/2/params.safetensors"), join(path, "params.safetensors"));
		await expect(loadSae(path)).rejects.toThrow(`${join(path, "config.json")}: is missing`);
	});

	test("says what is wrong with a path", async () => {
		await expect(loadSae(join(folder, "nowhere"))).rejects.toThrow("there is no such file or folder");
		const empty = join(folder, "empty");
		await mkdir(empty);
		await expect(loadSae(empty)).rejects.toThrow("is not an SAE in a format that can be read (saelens, ");
		const file = join(folder, "file");
		await writeFile(file, "text");
		await expect(loadSae(file)).rejects.toThrow("is not an SAE");
	});
});
