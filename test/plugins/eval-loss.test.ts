/** `sae eval loss`: cases whose figures are known, and the reference's figures for one that is not. */
import { afterAll, beforeAll, expect, test } from "bun:test";
import { mkdtemp, rm } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { core } from "../../core/api.ts";
import { checkEvaluator } from "../../core/conformance/index.ts";
import { writeSafetensors } from "../../core/files/safetensors.ts";
import { type Gpu, openGpu } from "../../core/gpu/device.ts";
import { loadSae, saveSae } from "../../core/load.ts";
import { describeModel } from "../../core/model/config.ts";
import { openSae } from "../../core/open-sae.ts";
import type { Context, MetricRow, OwnEvaluatorContribution } from "../../core/plugin.ts";
import type { SaeModel } from "../../core/sae.ts";
import evalLoss from "../../plugins/eval-loss.ts";
import { crossEntropies, divergences, mean } from "../reference/losses.ts";
import { randomTopK } from "../reference/models.ts";
import { CONFIGS, randomWeights, writeModel } from "../reference/random-model.ts";
import { decode, encodeTopK } from "../reference/topk.ts";
import { referencePass } from "../reference/transformer.ts";

const [evaluator] = evalLoss.contributes(core) as [OwnEvaluatorContribution];
const WIDTH = 18;
const CONFIG = { ...CONFIGS.gpt2, bos_token_id: 3, eos_token_id: 4 };
const HOOK = "blocks.0.hook_resid_post";
/** Both special tokens are in them. */
const CONTEXTS = [0, 1, 2].map((c) => Array.from({ length: 12 }, (_, i) => (c * 13 + i * 7 + (i % 4)) % 37));

let gpu: Gpu;
let folder: string;
let options: { model: string; tokens: string[] };
let context: Context;
beforeAll(async () => {
	gpu = await openGpu();
	folder = await mkdtemp(join(tmpdir(), "sae-eval-loss-"));
	const tokens = join(folder, "tokens.safetensors");
	const data = Int32Array.from(CONTEXTS.flat());
	await writeSafetensors(tokens, [{ name: "input_ids", dtype: "i32", shape: [3, 12], data }]);
	const model = await writeModel(join(folder, "model"), CONFIG, randomWeights(CONFIG));
	options = { model, tokens: [tokens] };
	context = {
		log: { info() {}, progress() {}, warn() {}, debug() {} },
		signal: new AbortController().signal,
		command: "sae test",
		gpu: async () => gpu,
		loadSae: (path) => loadSae(path),
		openSae: (model) => openSae(model, { gpu }),
	};
});
afterAll(async () => {
	gpu.close();
	await rm(folder, { recursive: true });
});

async function save(name: string, model: SaeModel, hook_name = HOOK): Promise<string> {
	const path = join(folder, name);
	await saveSae({ ...model, metadata: { hook_name } }, path);
	return path;
}

async function evaluate(given: Record<string, unknown>): Promise<MetricRow[]> {
	return evaluator.evaluate({}, evaluator.options.parse({ ...options, ...given }), context);
}

/** Latents that are the input's dimensions, each with both signs: x = relu(x) − relu(−x). */
function identity(): SaeModel {
	const sae = randomTopK(WIDTH, 2 * WIDTH, 2 * WIDTH);
	const eye = (rows: number, columns: number, at: (row: number, column: number) => number) => ({
		shape: [rows, columns],
		data: Float32Array.from({ length: rows * columns }, (_, i) => at(Math.floor(i / columns), i % columns)),
	});
	const sign = (latent: number, i: number) => (latent % WIDTH === i ? (latent < WIDTH ? 1 : -1) : 0);
	return {
		...sae,
		tensors: {
			W_enc: eye(WIDTH, 2 * WIDTH, (i, latent) => sign(latent, i)),
			W_dec: eye(2 * WIDTH, WIDTH, sign),
			b_enc: { shape: [2 * WIDTH], data: new Float32Array(2 * WIDTH) },
			b_dec: { shape: [WIDTH], data: new Float32Array(WIDTH) },
		},
	};
}

test("a perfect SAE recovers everything", async () => {
	const [row] = await evaluate({ sae: [await save("identity", identity())] });
	expect(row).toMatchObject({
		hook_name: HOOK,
		tokens: 36,
		predictions: 33,
		l0: WIDTH,
		ce_loss_delta: 0,
		ce_loss_score: 1,
		ce_loss_score_mean_ablation: 1,
		kl_div_with_sae: 0,
		kl_div_score: 1,
	});
	expect(row!.ce_loss_with_sae).toBe(row!.ce_loss_without_sae!);
});

test("an SAE that gives zeros is zero-ablation", async () => {
	const { tensors, ...rest } = randomTopK(WIDTH, 40, 4);
	const zero = ({ shape, data }: (typeof tensors)[string]) => ({ shape, data: data.map(() => 0) });
	const path = await save("zero", {
		...rest,
		tensors: { ...tensors, W_dec: zero(tensors.W_dec!), b_dec: zero(tensors.b_dec!) },
	});
	const saes = { sae: [path, await save("beside", identity(), "")] };
	const [row, ...others] = await evaluate({ ...saes, hook_point: [HOOK] });
	await expect(evaluate({ ...saes, hook_point: [HOOK, HOOK, HOOK] })).rejects.toThrow(
		"2 SAEs and 3 hook points; give one for each, or one for all",
	);
	// Two SAEs of one hook point can't be in one pass: each is measured by itself.
	expect(others).toMatchObject([{ ce_loss_delta: 0, l0: WIDTH }]);
	expect(row!.ce_loss_with_sae).toBe(row!.ce_loss_with_ablation!);
	expect(row!.kl_div_with_sae).toBe(row!.kl_div_with_ablation!);
	expect(row!.ce_loss_score).toBeCloseTo(0, 12);
	expect(row!.kl_div_score).toBeCloseTo(0, 12);
	// With the error kept, the SAE changes nothing, whatever it is.
	const [kept] = await evaluate({ sae: [path], error: "keep" });
	expect(kept).toMatchObject({ ce_loss_delta: 0, kl_div_with_sae: 0, ce_loss_score: 1 });
});

/** The reference's figures; special tokens keep their rows and do not count where `exclude` says so. */
function expected(saes: readonly { sae: SaeModel; hook: string }[], exclude: boolean) {
	const spec = describeModel(CONFIG, "config.json");
	const tensors = randomWeights(CONFIG);
	const special = (token: number) => exclude && (token === 3 || token === 4);
	const clean = CONTEXTS.map((tokens) => referencePass(spec, tensors, tokens));
	const meanOf = (hook: string) => {
		const rows = clean.flatMap((pass, c) => pass.get(hook)!.filter((_, i) => !special(CONTEXTS[c]![i]!)));
		return rows[0]!.map((_, i) => mean(rows.map((row) => row[i]!)));
	};
	const measure = (replaced: (sae: SaeModel, rows: number[][], hook: string) => number[][]) => {
		const ce: number[] = [];
		const kl: number[] = [];
		for (const [c, tokens] of CONTEXTS.entries()) {
			const pass = referencePass(spec, tensors, tokens, (name, rows) => {
				const own = saes.find(({ hook }) => hook === name);
				const changed = own && replaced(own.sae, rows, name);
				return changed ? rows.map((row, i) => (special(tokens[i]!) ? row : changed[i]!)) : rows;
			});
			const logits = pass.get("logits")!;
			ce.push(...crossEntropies(logits, tokens).filter((_, i) => !special(tokens[i]!)));
			kl.push(...divergences(clean[c]!.get("logits")!, logits).filter((_, i) => !special(tokens[i]!)));
		}
		return { ce: mean(ce), kl: mean(kl) };
	};
	const reconstructed = (sae: SaeModel, rows: number[][]) => {
		const out = decode(sae, encodeTopK(sae, rows.flat(), rows.length, Number(sae.settings.k)));
		return rows.map((row, i) => [...out.subarray(i * row.length, (i + 1) * row.length)]);
	};
	const [none, spliced, zero, average] = [
		measure((_, rows) => rows),
		measure(reconstructed),
		measure((_, rows) => rows.map((row) => row.map(() => 0))),
		measure((_, rows, hook) => rows.map(() => meanOf(hook))),
	];
	return {
		ce_loss_without_sae: none.ce,
		ce_loss_with_sae: spliced.ce,
		ce_loss_with_ablation: zero.ce,
		ce_loss_with_mean_ablation: average.ce,
		ce_loss_score: (zero.ce - spliced.ce) / (zero.ce - none.ce),
		ce_loss_score_mean_ablation: (average.ce - spliced.ce) / (average.ce - none.ce),
		kl_div_with_sae: spliced.kl,
		kl_div_with_ablation: zero.kl,
		kl_div_score: (zero.kl - spliced.kl) / zero.kl,
		kl_div_score_mean_ablation: (average.kl - spliced.kl) / average.kl,
	};
}

test.each([false, true])("figures are the reference's, special tokens excluded: %p", async (exclude) => {
	const saes = [
		{ sae: randomTopK(WIDTH, 40, 5, 2), hook: HOOK },
		{ sae: randomTopK(WIDTH, 32, 4, 3), hook: "blocks.1.attn.hook_z" },
	];
	const paths = await Promise.all(saes.map(({ sae, hook }, i) => save(`random-${i}`, sae, hook)));
	// Passes of one context and of two: sums must not depend on them.
	const rows = await evaluate({ sae: paths, exclude_special: exclude, batch_tokens: 24 });
	expect(rows.map(({ sae }) => sae)).toEqual([paths.join(" + "), ...paths]);
	expect(rows.map(({ l0 }) => l0)).toEqual([9, 5, 4]);
	for (const [i, group] of [saes, [saes[0]!], [saes[1]!]].entries()) {
		for (const [figure, value] of Object.entries(expected(group, exclude))) {
			expect(Math.abs((rows[i]![figure] as number) - value), figure).toBeLessThan(
				2e-4 * (1 + Math.abs(value)),
			);
		}
	}
	const special = CONTEXTS.flat().filter((token) => token === 3 || token === 4).length;
	expect(special).toBeGreaterThan(0);
	expect(rows[0]!.tokens).toBe(exclude ? 36 - special : 36);
});

test("figures are those of PyTorch and transformers", async () => {
	const fixtures = join(import.meta.dir, "../fixtures");
	const model = join(fixtures, "models/gpt2");
	const tokens = [join(model, "parity.safetensors")];
	const [row] = await evaluate({ model, tokens, sae: [join(fixtures, "metrics/loss-sae")] });
	const wanted: Record<string, number> = await Bun.file(join(fixtures, "metrics/loss.json")).json();
	for (const [figure, value] of Object.entries(wanted)) {
		expect(Math.abs(Number(row![figure]) - value), figure).toBeLessThan(2e-4 * (1 + Math.abs(value)));
	}
	expect(row).toMatchObject({ tokens: 40, predictions: 38 });
});

test("a limit cuts the last context", async () => {
	const [row] = await evaluate({ sae: [await save("cut", randomTopK(WIDTH, 40, 4))], limit: 17 });
	expect(row).toMatchObject({ tokens: 17, predictions: 15 });
	const [last] = await evaluate({ sae: [join(folder, "cut")], skip: 13 });
	expect(last).toMatchObject({ tokens: 12, predictions: 11 });
});

test("writes SAEBench's core results", async () => {
	const saebench = join(folder, "core.json");
	const sae = await save("core", randomTopK(WIDTH, 40, 4));
	const [row] = await evaluate({ sae: [sae], saebench, exclude_special: true });
	const { eval_type_id, eval_config, eval_result_metrics: metrics } = await Bun.file(saebench).json();
	expect([eval_type_id, eval_config]).toEqual([
		"core",
		{ model_name: options.model, exclude_special_tokens_from_reconstruction: true },
	]);
	expect(metrics).toMatchObject({
		model_behavior_preservation: { kl_div_score: row!.kl_div_score, kl_div_with_sae: row!.kl_div_with_sae },
		model_performance_preservation: {
			ce_loss_score: row!.ce_loss_score,
			ce_loss_with_ablation: row!.ce_loss_with_ablation,
			ce_loss_with_sae: row!.ce_loss_with_sae,
			ce_loss_without_sae: row!.ce_loss_without_sae,
		},
		reconstruction_quality: { explained_variance: -1 },
		sparsity: { l0: 4, l1: -1 },
		token_stats: { total_tokens_eval_reconstruction: row!.tokens },
	});
	await expect(evaluate({ sae: [sae, sae], saebench, hook_point: [HOOK, HOOK] })).rejects.toThrow(
		"--saebench: a file is of one SAE",
	);
});

test("keeps what evaluators promise", async () => {
	const sae = await save("conforming", randomTopK(WIDTH, 40, 4));
	const wrong = [
		{ ...options, sae: [sae], hook_point: ["blocks.0.mlp.hook_post"] },
		{ ...options, sae: [sae], hook_point: [HOOK, HOOK] },
		{ ...options, sae: [join(folder, "missing")] },
		{ ...options, sae: [sae], tokens: undefined },
	];
	await checkEvaluator(evalLoss, { gpu, options: { ...options, sae: [sae] }, wrong });
});
