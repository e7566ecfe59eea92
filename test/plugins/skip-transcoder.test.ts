/** Transcoders with a skip connection, which learns what is linear between inputs and targets. */
import { afterAll, beforeAll, expect, test } from "bun:test";
import { mkdtemp, rm } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { core } from "../../core/api.ts";
import { openSafetensors } from "../../core/files/safetensors.ts";
import { type Gpu, openGpu } from "../../core/gpu/device.ts";
import { loadSae } from "../../core/load.ts";
import { openSae } from "../../core/open-sae.ts";
import type { EvaluatorContribution, ExporterContribution } from "../../core/plugin.ts";
import type { SaeModel } from "../../core/sae.ts";
import { train } from "../../core/train-saes.ts";
import reconstruction from "../../plugins/eval-reconstruction.ts";
import saelens from "../../plugins/saelens.ts";
import { referenceContext } from "../reference/context.ts";
import { randomTopK, withSkip } from "../reference/models.ts";
import { columnStream } from "./features.ts";

let gpu: Gpu;
let folder: string;
beforeAll(async () => {
	gpu = await openGpu();
	folder = await mkdtemp(join(tmpdir(), "sae-skip-"));
});
afterAll(async () => {
	gpu.close();
	await rm(folder, { recursive: true });
});

/** Every feature is on in every row, so that one column is a linear map of the other. */
const stream = () =>
	columnStream(
		[
			{ name: "a", width: 16, scale: 3 },
			{ name: "b", width: 20, scale: 50 },
		],
		{ features: 12, active: 12, rows: 40_000, seed: 1 },
	);

async function transcode(skip: boolean) {
	let fvu = Number.NaN;
	const [sae] = await train({
		gpu,
		stream: stream(),
		columns: ["a"],
		targets: ["b"],
		saes: [{ architecture: "transcoder", d_sae: 24, options: { k: 2, skip } }],
		options: { tokens: 40_000, batch_size: 128, lr: 0.01, eval_rows: 1024, log_every: 100 },
		report: (metrics) => {
			fvu = metrics.eval_fvu ?? fvu;
		},
	});
	return { sae: sae!, fvu };
}

async function evaluated(model: SaeModel): Promise<number> {
	const [evaluator] = reconstruction.contributes(core) as [EvaluatorContribution];
	const context = {
		...referenceContext(),
		gpu: async () => gpu,
		openSae: (opened: SaeModel) => openSae(opened, { gpu }),
	};
	const options = evaluator.options.parse({ limit: 2048 });
	const [row] = await evaluator.evaluate({ model, stream: stream() }, options, context);
	return Number(row!.fvu);
}

const exporters = saelens.contributes(core).filter(({ kind }) => kind === "exporter");
const write = (model: SaeModel, path: string, name: string) => {
	const exporter = exporters.find((one) => one.name === name) as ExporterContribution;
	return exporter.write(model, path, { dtype: "float32" });
};

test("a skip connection explains what codes can't, and is saved with the rest", async () => {
	const [skip, plain] = [await transcode(true), await transcode(false)];
	// 0.018 and 0.37 where this was written.
	expect(skip.fvu).toBeLessThan(0.1);
	expect(plain.fvu).toBeGreaterThan(0.25);
	expect(skip.sae.tensors.W_skip!.shape).toEqual([20, 16]);
	const path = join(folder, "trained");
	await write(skip.sae, path, "native");
	const back = await loadSae(path);
	expect(back).toMatchObject({ architecture: "transcoder", d_out: 20, settings: { k: 2 } });
	expect(back.tensors).toEqual(skip.sae.tensors);
	expect(Math.abs((await evaluated(back)) - skip.fvu)).toBeLessThan(0.02);
});

test.each<[string, Partial<SaeModel["tensors"]>, string]>([
	["all positive codes", {}, "skip_transcoder"],
	[
		"thresholds",
		{ threshold: { shape: [10], data: new Float32Array(10).fill(0.1) } },
		"jumprelu_skip_transcoder",
	],
])("SAELens has one with %s", async (_, further, name) => {
	const model = withSkip(randomTopK(6, 10, 3), 4);
	const sae = { ...model, settings: {}, tensors: { ...model.tensors, ...further } } as SaeModel;
	const path = join(folder, name);
	await write(sae, path, "saelens");
	expect(await Bun.file(join(path, "cfg.json")).json()).toMatchObject({
		architecture: name,
		d_in: 6,
		d_out: 4,
	});
	const file = await openSafetensors(join(path, "sae_weights.safetensors"));
	expect(file.tensors.get("W_skip")!.shape).toEqual([4, 6]);
	await file.close();
	expect((await loadSae(path)).tensors).toEqual(sae.tensors);
});

test("but none with a k", async () => {
	const model = withSkip(randomTopK(6, 10, 3), 4);
	await expect(write(model, join(folder, "k"), "saelens")).rejects.toThrow(
		"no architecture like topk_skip_transcoder",
	);
});
