import { afterAll, beforeAll, describe, expect, test } from "bun:test";
import { mkdtemp, rm } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { core } from "../../core/api.ts";
import { writeSafetensors } from "../../core/files/safetensors.ts";
import type { EvaluatorContribution } from "../../core/plugin.ts";
import recovery from "../../plugins/eval-recovery.ts";
import { referenceContext } from "../reference/context.ts";
import { randomTopK } from "../reference/models.ts";

const [evaluator] = recovery.contributes(core) as [EvaluatorContribution];
const model = randomTopK(32, 40, 2);

let folder: string;
beforeAll(async () => {
	folder = await mkdtemp(join(tmpdir(), "sae-recovery-"));
});
afterAll(() => rm(folder, { recursive: true }));

async function truth(name: string, shape: number[], data: Float32Array): Promise<string> {
	const path = join(folder, name);
	await writeSafetensors(path, [{ name: "features", dtype: "f32", shape, data }]);
	return path;
}

const evaluate = (path: string, seed = 0) =>
	evaluator.evaluate({ model }, evaluator.options.parse({ truth: path, seed }), referenceContext());

describe("eval recovery", () => {
	test("sets an SAE that found some features beside a random dictionary", async () => {
		// The SAE's first 16 decoder rows are the truth, in reverse and stretched.
		const rows = Array.from({ length: 16 }, (_, i) =>
			model.tensors.W_dec!.data.slice((15 - i) * 32, (16 - i) * 32),
		);
		const path = await truth(
			"found",
			[16, 32],
			Float32Array.from(
				rows.flatMap((row) => [...row]),
				(v) => v * 3,
			),
		);
		const [sae, random] = await evaluate(path);
		expect(sae).toMatchObject({ dictionary: "sae", features: 16, latents: 40, "recovery@0.95": 1 });
		expect(sae!.mcc).toBeCloseTo(1, 6);
		expect(sae!.mcc_signed).toBeCloseTo(1, 6);
		expect(sae!.mmcs_truth_to_sae).toBeCloseTo(1, 6);
		expect(sae!.mmcs_sae_to_truth).toBeLessThan(0.8);
		expect(random).toMatchObject({ dictionary: "random", features: 16, latents: 40, "recovery@0.9": 0 });
		expect(random!.mcc).toBeLessThan(0.6);
		const [again, other] = await evaluate(path, 1);
		expect(again).toEqual(sae!);
		expect(other).not.toEqual(random!);
	});

	test("refuses a file that holds other features", async () => {
		const narrow = await truth("narrow", [16, 31], new Float32Array(16 * 31).fill(1));
		await expect(evaluate(narrow)).rejects.toThrow(
			"features has the shape [16, 31], but this SAE's decoder makes it [n, 32]",
		);
		const empty = await truth("empty", [0, 32], new Float32Array(0));
		await expect(evaluate(empty)).rejects.toThrow("the shape [0, 32]");
		const broken = await truth("broken", [1, 32], new Float32Array(32).fill(Number.NaN));
		await expect(evaluate(broken)).rejects.toThrow("NaN or infinity");
		const path = join(folder, "other");
		await writeSafetensors(path, [{ name: "x", dtype: "f32", shape: [1], data: new Float32Array(1) }]);
		await expect(evaluate(path)).rejects.toThrow("has no array features");
	});
});
