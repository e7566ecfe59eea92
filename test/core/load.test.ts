import { afterAll, beforeAll, describe, expect, test } from "bun:test";
import { mkdir, mkdtemp, rm, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { loadSae, saveSae } from "../../core/load.ts";
import { randomTopK } from "../reference/models.ts";

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
