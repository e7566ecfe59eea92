/** Text encoded by a page of features: by its modules in Bun and, where there is a Chromium, in the page itself. */
import { afterAll, beforeAll, expect, test } from "bun:test";
import { mkdtemp, rm } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { pathToFileURL } from "node:url";
import { gunzipSync } from "node:zlib";
import { type EncodedText, openTextLatents } from "../../cli/reports/features/app/encode.ts";
import { bytesOf, readModelFiles, readSae } from "../../cli/reports/features/app/files.ts";
import type { Manifest } from "../../cli/reports/features/format.ts";
import { writeArrowFile } from "../../core/arrow/writer.ts";
import { fromFloat32, toFloat32 } from "../../core/files/dtype.ts";
import { openSafetensorsBytes } from "../../core/files/safetensors-read.ts";
import { type Gpu, openGpu } from "../../core/gpu/device.ts";
import { saveSae } from "../../core/load.ts";
import { openTokenizer } from "../../core/model/index.ts";
import { openTransformer } from "../../core/model/open.ts";
import { openSae } from "../../core/open-sae.ts";
import type { SaeModel } from "../../core/sae.ts";
import { randomTopK } from "../reference/models.ts";
import { CHROMIUM, openTab } from "./chromium.ts";
import { featuresStream, WILD } from "./report-features.ts";
import { sae } from "./sae.ts";

const MODEL = join(import.meta.dir, "../../demo/data/model");
const HOOK = "blocks.1.hook_resid_post";
const TEXT = "The old king said: open the gate. </script><img src=x onerror=alert(1)>";

let folder: string;
let gpu: Gpu;
let page: string;
let model: SaeModel;
let expected: EncodedText["tokens"];
beforeAll(async () => {
	folder = await mkdtemp(join(tmpdir(), "sae-features-live-"));
	gpu = await openGpu();
	model = halved({ ...randomTopK(128, 96, 4), metadata: { hook_name: HOOK } });
	await saveSae(model, join(folder, "sae"));
	await writeArrowFile(featuresStream(96, { "sae.model": MODEL }), join(folder, "features.arrow"));
	page = join(folder, "page.html");
	const ended = await sae([
		"report",
		"features",
		join(folder, "sae"),
		join(folder, "features.arrow"),
		"--out",
		page,
	]);
	expect(ended).toMatchObject({ exitCode: 0 });
	expected = await encoded();
});
afterAll(async () => {
	gpu.close();
	await rm(folder, { recursive: true });
});

/** With an encoder that float16 holds, so that the page has the same. */
function halved(sae: SaeModel): SaeModel {
	const { W_enc } = sae.tensors;
	const data = toFloat32(fromFloat32(W_enc!.data, "f16").slice(), "f16");
	return { ...sae, tensors: { ...sae.tensors, W_enc: { ...W_enc!, data } } };
}

/** What `sae activations transformer | sae encode` does. */
async function encoded(): Promise<EncodedText["tokens"]> {
	const tokenizer = await openTokenizer(MODEL);
	const transformer = await openTransformer(MODEL, { gpu, layers: 2, head: false });
	const tokens = tokenizer.encode(TEXT);
	const rows: Float32Array[] = [];
	await transformer.run(
		{ tokens, sequences: [{ length: tokens.length }] },
		new Map([[HOOK, async (value) => void rows.push(await transformer.read(value))]]),
	);
	const runtime = await openSae(model, { gpu });
	const { offsets, index, value } = await runtime.encode(rows[0]!, tokens.length);
	for (const one of [runtime, transformer]) one.close();
	return Array.from(tokens, (id, row) => ({
		text: tokenizer.decode([id]),
		latents: Array.from(index.subarray(offsets[row], offsets[row + 1]), (latent, i) => ({
			latent,
			value: value[offsets[row]! + i]!,
		})),
	}));
}

/** A part of the page, unpacked. */
async function part(id: string): Promise<Buffer> {
	const data = new RegExp(`id="${id}">([^<]*)<`).exec(await Bun.file(page).text())?.[1];
	return gunzipSync(Buffer.from(data!, "base64"));
}

function agree(found: EncodedText["tokens"], tolerance: number): void {
	expect(found.map(({ text }) => text)).toEqual(expected.map(({ text }) => text));
	for (const [i, { latents }] of found.entries()) {
		expect(latents.map(({ latent }) => latent)).toEqual(expected[i]!.latents.map(({ latent }) => latent));
		for (const [j, { value }] of latents.entries()) {
			expect(Math.abs(value / expected[i]!.latents[j]!.value - 1)).toBeLessThan(tolerance);
		}
	}
}

test("what a page holds encodes as sae does", async () => {
	const manifest = JSON.parse((await part("manifest")).toString()) as Manifest;
	const live = manifest.live!;
	expect(live.hookPoint).toBe(HOOK);
	const blob = async (id: string) => bytesOf(id, new Blob([await part(`${id}-0`)]));
	const files = { ...live.embedded.model!, weights: await openSafetensorsBytes(await blob("model")) };
	// Nothing behind the hook point is needed, so nothing of it is there.
	expect([...files.weights.tensors.keys()].filter((name) => /h\.[2-9]|ln_f/.test(name))).toEqual([]);
	const encoder = await openTextLatents(
		gpu,
		await readSae(live, await blob("sae")),
		live.inference,
		files,
		HOOK,
	);
	agree((await encoder.encode(TEXT)).tokens, 1e-5);
	expect(await encoder.encode("")).toEqual({ tokens: [], cut: false });
	const long = await encoder.encode("word ".repeat(3000));
	expect([long.cut, long.tokens.length > 100]).toEqual([true, true]);
	encoder.close();
});

test("so do files that a person picks, and others are refused", async () => {
	const manifest = JSON.parse((await part("manifest")).toString()) as Manifest;
	const file = (path: string) => bytesOf(path.split("/").at(-1)!, Bun.file(path));
	const picked = await readSae(manifest.live!, file(join(folder, "sae", "sae_weights.safetensors")));
	const names = ["config.json", "tokenizer.json", "model.safetensors"];
	const files = await readModelFiles(names.map((name) => file(join(MODEL, name))));
	const encoder = await openTextLatents(gpu, picked, manifest.live!.inference, files, HOOK);
	agree((await encoder.encode(TEXT)).tokens, 1e-5);
	encoder.close();
	await expect(readModelFiles([file(join(MODEL, "config.json"))])).rejects.toThrow(
		"tokenizer.json is missing",
	);
	const other = file(join(MODEL, "model.safetensors"));
	await expect(readSae(manifest.live!, other)).rejects.toThrow("model.safetensors: has no array W_enc");
	const twin = halved({ ...randomTopK(128, 96, 4, 99), metadata: {} });
	await saveSae(twin, join(folder, "twin"));
	await expect(
		readSae(manifest.live!, file(join(folder, "twin", "sae_weights.safetensors"))),
	).rejects.toThrow("has other numbers than this page's SAE");
	const wrong = { ...model, d_in: 64 };
	await expect(openTextLatents(gpu, wrong, manifest.live!.inference, files, HOOK)).rejects.toThrow(
		"the SAE reads 64 numbers, but blocks.1.hook_resid_post of this model has 128",
	);
});

for (const chromium of CHROMIUM ? [CHROMIUM] : []) {
	test("the page itself does, in Chromium, and fetches nothing", async () => {
		await using tab = await openTab(chromium);
		await tab.open(`${pathToFileURL(page)}#latent/7`);
		await tab.until("document.querySelector('h2')?.textContent === 'Latent 7'");
		// Others' text is text.
		expect(await tab.value("document.querySelector('.examples').textContent")).toContain(WILD);
		expect(await tab.value("document.images.length")).toBe(0);
		await tab.press("j");
		await tab.until("location.hash === '#latent/6'");
		await tab.until("document.querySelector('h2').textContent === 'Latent 6'");
		await tab.value("location.hash = '#latents'");
		await tab.until("document.body.dataset.view === 'latents'");
		// From the list, where one Tab leads to and past it, arrows go along it.
		expect(await tab.value("document.querySelectorAll('.scroller [tabindex=\"0\"]').length")).toBe(1);
		await tab.value("document.querySelector('.scroller [tabindex=\"0\"]').focus()");
		await tab.press("Home");
		await tab.press("ArrowDown");
		expect(await tab.value("document.activeElement.hash")).toBe("#latent/94");
		await tab.press("End");
		// Those that were never active have the lowest density, and of equal ones the first comes first.
		expect(await tab.value("document.activeElement.hash")).toBe("#latent/90");
		await tab.press("/");
		await tab.until("document.activeElement.id === 'search'");
		for (const key of "token42") await tab.press(key);
		expect(await tab.value("document.querySelector('.count').textContent")).toBe("1 of 96 latents");
		await tab.value("location.hash = '#live'");
		await tab.until("document.querySelector('textarea') !== null");
		await tab.value(`document.querySelector('textarea').value = ${JSON.stringify(TEXT)}`);
		await tab.value("document.querySelector('form button').click()");
		await tab.until("!document.querySelector('form button').disabled");
		if (await tab.value("Boolean(navigator.gpu) && navigator.gpu.requestAdapter().then(Boolean)")) {
			expect(await tab.value("document.querySelector('.status').textContent")).toBe("");
			agree(await tab.value(READ), 2e-3);
			await tab.value("document.querySelector('.live tbody button').click()");
			expect(await tab.value("document.querySelector('.result').textContent")).toMatch(
				/Brightness is latent \d+ alone/,
			);
		} else {
			expect(await tab.value("document.querySelector('.status').textContent")).toContain("WebGPU");
		}
		expect(tab.requests.filter((address) => !address.startsWith("file:"))).toEqual([]);
		expect(tab.complaints).toEqual([]);
	});
}

/** The tokens that the page shows and, a click on each, their latents. */
const READ = `(async () => {
	const found = [];
	for (let i = 0; i < document.querySelectorAll('.token').length; i++) {
		const token = document.querySelectorAll('.token')[i];
		token.click();
		const rows = [...document.querySelectorAll('.live tbody tr')];
		const latents = rows.map(({ cells }) => ({ latent: Number(cells[0].textContent), value: Number(cells[3].textContent) }));
		found.push({ text: token.textContent.replace('␣', ' '), latents: latents.sort((a, b) => a.latent - b.latent) });
	}
	return found;
})()`;
