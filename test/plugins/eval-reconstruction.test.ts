import { afterAll, beforeAll, describe, expect, test } from "bun:test";
import { mkdtemp, readdir, rm } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import type { RecordBatch } from "apache-arrow";
import { core } from "../../core/api.ts";
import { activationsBatch, activationsSchema, type VectorType } from "../../core/arrow/activations.ts";
import { openArrow } from "../../core/arrow/reader.ts";
import type { EvaluatorContribution } from "../../core/plugin.ts";
import type { RecordStream } from "../../core/stream.ts";
import reconstruction from "../../plugins/eval-reconstruction.ts";
import { referenceContext } from "../reference/context.ts";
import { randomStream, randomTensor, randomTopK } from "../reference/models.ts";
import { decode, encodeTopK } from "../reference/topk.ts";

const [evaluator] = reconstruction.contributes(core) as [EvaluatorContribution];
const D_IN = 6;
const ROWS = 100;
const model = randomTopK(D_IN, 20, 3);
const x = randomTensor([ROWS, D_IN], randomStream(8), 2).data;

function stream(
	sizes: number[],
	data: Float32Array | Uint16Array = x,
	type: VectorType = "float32",
): RecordStream {
	const schema = activationsSchema({ width: D_IN, type });
	let row = 0;
	const batches = sizes.map((rows) => {
		const vectors = { data: data.subarray(row * D_IN, (row + rows) * D_IN), rows, width: D_IN, type };
		row += rows;
		return activationsBatch(schema, vectors, {}, row - rows);
	});
	return { schema, batches: each(batches) };
}

async function* each(batches: RecordBatch[]): AsyncGenerator<RecordBatch> {
	yield* batches;
}

async function evaluate(input: RecordStream, options: Record<string, unknown> = {}, sae = model) {
	const rows = await evaluator.evaluate(
		{ model: sae, stream: input },
		evaluator.options.parse(options),
		referenceContext(),
	);
	expect(rows).toHaveLength(1);
	return rows[0]!;
}

let folder: string;
beforeAll(async () => {
	folder = await mkdtemp(join(tmpdir(), "sae-eval-"));
});
afterAll(() => rm(folder, { recursive: true }));

describe("eval reconstruction", () => {
	test("measures the reconstructions of the whole stream", async () => {
		const row = await evaluate(stream([ROWS]));
		const codes = encodeTopK(model, x, ROWS, 3);
		const y = Float32Array.from(decode(model, codes));
		const squared = x.reduce((sum, value, i) => sum + (value - y[i]!) ** 2, 0);
		const mean = Array.from(
			{ length: D_IN },
			(_, i) => x.filter((_, j) => j % D_IN === i).reduce((a, b) => a + b) / ROWS,
		);
		const spread = x.reduce((sum, value, i) => sum + (value - mean[i % D_IN]!) ** 2, 0);
		expect(row).toMatchObject({ rows: ROWS, l0: 3, l0_std: 0 });
		expect(row.mse).toBeCloseTo(squared / ROWS, 10);
		expect(row.fvu).toBeCloseTo(squared / spread, 10);
		expect(row.dead).toBeCloseTo(1 - new Set(codes.index).size / 20, 12);
		expect(row.l1).toBeCloseTo(codes.value.reduce((a, b) => a + b) / ROWS, 10);
	});

	test("gives the same figures however the stream is cut", async () => {
		const whole = await evaluate(stream([ROWS]));
		expect(await evaluate(stream([1, 50, 0, 49]))).toEqual(whole);
		expect(await evaluate(stream(Array(ROWS).fill(1)))).toEqual(whole);
	});

	test("takes another k, a limit and float16", async () => {
		expect(await evaluate(stream([ROWS]), { k: 2 })).toMatchObject({ l0: 2 });
		const limited = await evaluate(stream([20, 20, 60]), { limit: 33 });
		expect(limited).toEqual(await evaluate(stream([33])));
		const halves = new Float16Array(x);
		const half = await evaluate(stream([ROWS], new Uint16Array(halves.buffer), "float16"));
		expect(half).toEqual(await evaluate(stream([ROWS], new Float32Array(halves))));
	});

	test("writes a table of the latents", async () => {
		const per_latent = join(folder, "latents.arrow");
		const row = await evaluate(stream([ROWS]), { per_latent });
		expect(await readdir(folder)).toEqual(["latents.arrow"]);
		const { schema, batches } = await openArrow(per_latent);
		expect(schema.metadata.get("sae.stream")).toBe("features");
		const [table] = await Array.fromAsync(batches);
		const latents = table!.toArray().map((latent) => latent.toJSON());
		expect(latents.map(({ latent }) => latent)).toEqual(Array.from({ length: 20 }, (_, i) => i));
		expect(latents.reduce((sum, { fired }) => sum + fired, 0)).toBe(3 * ROWS);
		expect(latents.filter(({ fired }) => fired === 0).length / 20).toBe(row.dead as number);
		const codes = encodeTopK(model, x, ROWS, 3);
		const values = Array.from(codes.value).filter((_, entry) => codes.index[entry] === codes.index[0]);
		const first = latents[codes.index[0]!]!;
		expect(first.density).toBe(values.length / ROWS);
		expect(first.max_activation).toBe(Math.max(...values));
		expect(first.mean_activation).toBeCloseTo(values.reduce((a, b) => a + b) / values.length, 10);
		expect(first.decoder_norm).toBeCloseTo(1, 6);
	});

	test("writes SAEBench's core results, beside what the loss of the same SAE has there", async () => {
		const path = join(folder, "core.json");
		const sae_cfg_dict = { architecture: "topk", d_in: D_IN, d_sae: 20, k: 3, metadata: {} };
		const theirs = {
			eval_type_id: "core",
			eval_config: { model_name: "a-model" },
			eval_result_metrics: { model_performance_preservation: { ce_loss_score: 0.875 }, sparsity: { l0: 9 } },
			sae_cfg_dict,
		};
		await Bun.write(path, JSON.stringify(theirs));
		const row = await evaluate(stream([ROWS]), { saebench: path });
		const { eval_result_metrics: metrics, ...result } = await Bun.file(path).json();
		expect(result).toMatchObject({ eval_type_id: "core", eval_config: theirs.eval_config, sae_cfg_dict });
		expect(metrics).toMatchObject({
			model_performance_preservation: { ce_loss_score: 0.875, ce_loss_with_sae: -1 },
			reconstruction_quality: {
				explained_variance: row.explained_variance,
				mse: row.mse,
				cossim: row.cosine,
			},
			shrinkage: { l2_norm_in: row.l2_norm_in, l2_norm_out: row.l2_norm_out, l2_ratio: row.l2_ratio },
			sparsity: { l0: 3, l1: row.l1 },
			token_stats: { total_tokens_eval_reconstruction: -1, total_tokens_eval_sparsity_variance: ROWS },
			misc_metrics: { frac_alive: 1 - Number(row.dead), freq_over_1_percent: row.freq_over_1_percent },
		});
		// Of another SAE nothing stays.
		await Bun.write(path, JSON.stringify({ ...theirs, sae_cfg_dict: { ...sae_cfg_dict, d_sae: 21 } }));
		await evaluate(stream([ROWS]), { saebench: path });
		const after = await Bun.file(path).json();
		expect(after.eval_result_metrics.model_performance_preservation.ce_loss_score).toBe(-1);
	});

	test("refuses streams that it can't measure", async () => {
		await expect(evaluate(stream([0]))).rejects.toThrow("no rows to evaluate");
		await expect(evaluate(stream([ROWS]), {}, randomTopK(5, 20, 3))).rejects.toThrow(
			"has vectors of 6 values, this SAE takes 5",
		);
		const broken = x.slice();
		broken[42 * D_IN] = Number.POSITIVE_INFINITY;
		await expect(evaluate(stream([ROWS], broken))).rejects.toThrow("row 42 holds NaN or infinity");
	});
});
