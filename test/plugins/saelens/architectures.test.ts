/** The architectures that SAELens has beside topk: in its folders, folded, and run on the device. */
import { afterAll, beforeAll, describe, expect, test } from "bun:test";
import { mkdtemp, readFile, rm, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { core } from "../../../core/api.ts";
import { openSafetensors } from "../../../core/files/safetensors.ts";
import { foldDecoderNorms, foldInputScale } from "../../../core/fold.ts";
import { type Gpu, openGpu } from "../../../core/gpu/device.ts";
import { loadSae, saveSae } from "../../../core/load.ts";
import { openSae } from "../../../core/open-sae.ts";
import type { ExporterContribution } from "../../../core/plugin.ts";
import type { Codes, SaeModel } from "../../../core/sae.ts";
import saelens from "../../../plugins/saelens.ts";
import { randomStream, randomTensor } from "../../reference/models.ts";
import { ARCHITECTURES, decodeBySaeLens, encodeBySaeLens, randomSae } from "../../reference/saelens.ts";

const ROWS = 50;
const x = randomTensor([ROWS, 7], randomStream(8), 1.5).data;
const exporter = saelens
	.contributes(core)
	.find(({ kind, name }) => kind === "exporter" && name === "saelens") as ExporterContribution;

let gpu: Gpu;
let folder: string;
beforeAll(async () => {
	gpu = await openGpu();
	folder = await mkdtemp(join(tmpdir(), "sae-architectures-"));
});
afterAll(async () => {
	gpu.close();
	await rm(folder, { recursive: true });
});

const TENSORS = {
	standard: ["W_dec", "W_enc", "b_dec", "b_enc"],
	jumprelu: ["W_dec", "W_enc", "b_dec", "b_enc", "threshold"],
	gated: ["W_dec", "W_enc", "b_dec", "b_gate", "b_mag", "r_mag"],
};

describe.each([...ARCHITECTURES])("%s", (architecture) => {
	const model = randomSae(architecture);

	test.each([true, false])(
		"goes to a folder of SAELens and back, apply_b_dec_to_input %p",
		async (centred) => {
			const sae = randomSae(architecture, { centred });
			const path = join(folder, `${architecture} ${centred}`);
			await saveSae(sae, path);
			expect(JSON.parse(await readFile(join(path, "cfg.json"), "utf8"))).toEqual({
				architecture,
				d_in: 7,
				d_sae: 40,
				dtype: "float32",
				device: "cpu",
				apply_b_dec_to_input: centred,
				normalize_activations: "none",
				reshape_activations: "none",
				metadata: { sae_lens_version: "6.0.0" },
			});
			const file = await openSafetensors(join(path, "sae_weights.safetensors"));
			const names = [...file.tensors.keys()];
			await file.close();
			expect(names.toSorted()).toEqual(TENSORS[architecture]);
			expect(await loadSae(path)).toEqual({ ...sae, metadata: { sae_lens_version: "6.0.0" } });
		},
	);

	test.each(["float16", "bfloat16"])("goes there as %s", async (dtype) => {
		const path = join(folder, `${architecture} ${dtype}`);
		await exporter.write(model, path, { dtype });
		const { tensors } = await loadSae(path);
		for (const [name, { data }] of Object.entries(model.tensors)) {
			const step = dtype === "float16" ? 2 ** -11 : 2 ** -8;
			expect(tensors[name]!.data).not.toEqual(data);
			for (const [i, value] of tensors[name]!.data.entries())
				expect(Math.abs(value - data[i]!)).toBeLessThanOrEqual(step * Math.max(Math.abs(data[i]!), 2 ** -14));
		}
	});

	test("has SAELens' codes on the device", async () => {
		const expected = encodeBySaeLens(model, x, ROWS);
		const share = expected.filter((act) => act > 0).length / expected.length;
		expect(share).toBeGreaterThan(0.1);
		expect(share).toBeLessThan(0.6);
		const runtime = await openSae(model, { gpu });
		const codes = await runtime.encode(x, ROWS);
		const back = await runtime.decode(codes);
		runtime.close();
		expect(codes.value.every((value) => value > 0)).toBe(true);
		expectClose(dense(codes, model), expected);
		expectClose(back, decodeBySaeLens(model, expected));
	});

	test("folds a scale of its input", () => {
		const raw = foldInputScale(model, 0.3);
		const scaled = x.map((value) => value * 0.3);
		expectClose(
			encodeBySaeLens(raw, x, ROWS),
			encodeBySaeLens(model, scaled, ROWS).map((act) => act / 0.3),
		);
	});

	test("folds decoder norms", () => {
		const unit = foldDecoderNorms(model);
		const acts = encodeBySaeLens(model, x, ROWS);
		const norms = Array.from({ length: 40 }, (_, row) =>
			Math.hypot(...model.tensors.W_dec!.data.subarray(row * 7, (row + 1) * 7)),
		);
		const folded = encodeBySaeLens(unit, x, ROWS);
		expectClose(
			folded,
			acts.map((act, i) => act * norms[i % 40]!),
		);
		expectClose(decodeBySaeLens(unit, folded), decodeBySaeLens(model, acts));
	});
});

test("--k keeps the largest codes, but for gated SAEs, whose gates decide", async () => {
	const runtime = await openSae(randomSae("standard"), { gpu, k: 2 });
	const { offsets } = await runtime.encode(x, ROWS);
	runtime.close();
	for (let row = 0; row < ROWS; row++) expect(offsets[row + 1]! - offsets[row]!).toBe(2);
	await expect(openSae(randomSae("gated"), { gpu, k: 2 })).rejects.toThrow("--k: a gated SAE's own gates");
});

function dense({ offsets, index, value }: Codes, { d_sae }: SaeModel): Float64Array {
	const acts = new Float64Array(ROWS * d_sae);
	for (let row = 0; row < ROWS; row++) {
		for (let entry = offsets[row]!; entry < offsets[row + 1]!; entry++)
			acts[row * d_sae + index[entry]!] = value[entry]!;
	}
	return acts;
}

function expectClose(actual: ArrayLike<number>, expected: ArrayLike<number>): void {
	expect(actual.length).toBe(expected.length);
	for (let i = 0; i < expected.length; i++) expect(Math.abs(actual[i]! - expected[i]!)).toBeLessThan(1e-5);
}

test("an architecture of another package goes to a folder and back, with the tensors that it has", async () => {
	const { W_dec, b_dec } = randomSae("standard").tensors;
	const sae: SaeModel = {
		...randomSae("standard"),
		architecture: "paired",
		settings: { k: 3, mode: "pairs" },
		tensors: {
			W_dec: W_dec!,
			b_dec: b_dec!,
			W_enc: randomTensor([7, 14], randomStream(3)),
			b_enc: randomTensor([14], randomStream(4)),
		},
	};
	const path = join(folder, "paired");
	await saveSae(sae, path);
	expect(await loadSae(path)).toMatchObject({
		architecture: "paired",
		settings: { k: 3, mode: "pairs" },
		tensors: sae.tensors,
	});
	const cfg = join(path, "cfg.json");
	const damaged = (await readFile(cfg, "utf8")).replaceAll("14", "15");
	await writeFile(cfg, damaged);
	await expect(loadSae(path)).rejects.toThrow("shape");
});
