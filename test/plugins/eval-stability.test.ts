import { describe, expect, test } from "bun:test";
import { core } from "../../core/api.ts";
import type { OwnEvaluatorContribution } from "../../core/plugin.ts";
import type { SaeModel } from "../../core/sae.ts";
import stability from "../../plugins/eval-stability.ts";
import { referenceContext } from "../reference/context.ts";
import { randomStream, randomTensor, randomTopK } from "../reference/models.ts";

const [evaluator] = stability.contributes(core) as [OwnEvaluatorContribution];
const [D_IN, D_SAE] = [24, 40];
const sae = (seed: number, d_sae = D_SAE) => randomTopK(D_IN, d_sae, 2, seed);

async function evaluate(models: readonly SaeModel[], options: Record<string, unknown> = {}) {
	const context = { ...referenceContext(), loadSae: async (path: string) => models[Number(path)]! };
	return evaluator.evaluate(
		{},
		evaluator.options.parse({ sae: models.map((_, i) => String(i)), ...options }),
		context,
	);
}

/** Latent i of the result is latent order[i]: its decoder times `scale`, its encoder too. A negative one is new. */
function rearranged(model: SaeModel, order: readonly number[], scale = 1, seed = 77): SaeModel {
	const random = randomStream(seed);
	const W_enc = randomTensor([D_IN, order.length], random);
	const W_dec = randomTensor([order.length, D_IN], random);
	order.forEach((from, to) => {
		if (from < 0) return;
		for (let d = 0; d < D_IN; d++) {
			W_enc.data[d * order.length + to] = scale * model.tensors.W_enc!.data[d * model.d_sae + from]!;
			W_dec.data[to * D_IN + d] = scale * model.tensors.W_dec!.data[from * D_IN + d]!;
		}
	});
	return { ...model, d_sae: order.length, tensors: { ...model.tensors, W_enc, W_dec } };
}

const backwards = Array.from({ length: D_SAE }, (_, i) => D_SAE - 1 - i);
const by = (rows: Awaited<ReturnType<typeof evaluate>>, name: string, other = "1") =>
	rows.find((row) => row.by === name && row.other === other)!;

/** The best one-to-one matching, by trying all of them. */
function bestSum(values: readonly (readonly number[])[], row = 0, used = 0): number {
	if (row === values.length) return 0;
	let best = Number.NEGATIVE_INFINITY;
	values[row]!.forEach((value, column) => {
		if (!(used & (1 << column)))
			best = Math.max(best, value + bestSum(values, row + 1, used | (1 << column)));
	});
	return best;
}

describe("eval stability", () => {
	test.each([4096, 8])(
		"the same latents in another order and scale are all shared (%d matched)",
		async (max_matched) => {
			const rows = await evaluate([sae(1), rearranged(sae(1), backwards, 3)], { max_matched });
			for (const name of ["decoder", "encoder", "sum of both"]) {
				expect(by(rows, name).mcc_at_least).toBeCloseTo(1, 6);
				expect(by(rows, name).mcc_at_most).toBeCloseTo(1, 6);
				expect(by(rows, name).shared).toBe(1);
			}
			expect(by(rows, "both agree").shared).toBe(1);
			expect(by(rows, "decoder").matching).toBe(max_matched === 8 ? "mutually nearest" : "best");
			expect(by(rows, "both agree", "random").shared).toBe(0);
			expect(Number(by(rows, "decoder", "random").mcc_at_most)).toBeLessThan(0.7);
		},
	);

	test.each([4096, 8])("half of the latents in common are half shared (%d matched)", async (max_matched) => {
		const half = rearranged(
			sae(1),
			backwards.map((from, i) => (i % 2 ? from : -1)),
		);
		const rows = await evaluate([sae(1), half], { max_matched });
		expect(by(rows, "both agree").shared).toBe(0.5);
		expect(by(rows, "decoder").shared).toBe(0.5);
	});

	test("encoders and decoders that are matched differently share nothing together", async () => {
		const turned = rearranged(
			sae(1),
			backwards.map((_, i) => (i + 1) % D_SAE),
		);
		const mixed = { ...sae(1), tensors: { ...sae(1).tensors, W_enc: turned.tensors.W_enc! } };
		const rows = await evaluate([sae(1), mixed]);
		expect(by(rows, "decoder").shared).toBe(1);
		expect(by(rows, "encoder").shared).toBe(1);
		expect(by(rows, "both agree").shared).toBe(0);
	});

	test("a latent counts for several SAEs only when all of them have it", async () => {
		const without = (lost: (i: number) => boolean, seed: number) =>
			rearranged(
				sae(1),
				backwards.map((from) => (lost(from) ? -1 : from)),
				1,
				seed,
			);
		const rows = await evaluate([sae(1), without((i) => i < 10, 5), without((i) => i >= 30, 6)]);
		expect(by(rows, "both agree").shared).toBe(0.75);
		expect(by(rows, "both agree", "2").shared).toBe(0.75);
		expect(by(rows, "both agree", "all 2 others").shared).toBe(0.5);
	});

	test("MCC is the best of all matchings, and the bounds hold it", async () => {
		const [a, b] = [sae(1, 7), sae(2, 7)];
		const decoderRow = ({ tensors }: SaeModel, i: number) =>
			tensors.W_dec!.data.slice(i * D_IN, (i + 1) * D_IN);
		const cosine = (i: number, j: number) => {
			const other = decoderRow(b, j);
			return decoderRow(a, i).reduce((sum, value, d) => sum + value * other[d]!, 0);
		};
		const values = Array.from({ length: 7 }, (_, i) => Array.from({ length: 7 }, (_, j) => cosine(i, j)));
		const mcc = bestSum(values) / 7;
		const exact = by(await evaluate([a, b]), "decoder");
		expect(exact.mcc).toBeCloseTo(mcc, 5);
		expect(exact.mean_max_cosine).toBeCloseTo(values.reduce((sum, row) => sum + Math.max(...row), 0) / 7, 5);
		const bounds = by(await evaluate([a, b], { max_matched: 6 }), "decoder");
		expect(bounds.mcc).toBeNull();
		expect(Number(bounds.mcc_at_least)).toBeLessThanOrEqual(mcc + 1e-6);
		expect(Number(bounds.mcc_at_most)).toBeGreaterThanOrEqual(mcc - 1e-6);
		expect(Number(bounds.mcc_at_least)).toBeLessThan(Number(bounds.mcc_at_most));
	});

	test("latents without a direction are left out and counted", async () => {
		const dead = rearranged(sae(1), backwards);
		dead.tensors.W_dec!.data.fill(0, 0, D_IN);
		const row = by(await evaluate([dead, sae(1)]), "both agree");
		expect(row).toMatchObject({ latents: D_SAE - 1, without_direction: 1, shared: 1 });
	});

	test("refuses SAEs that can't be compared", async () => {
		await expect(evaluate([sae(1), randomTopK(12, 8, 2)])).rejects.toThrow(
			"1: its encoder has width 12, that of 0 has 24",
		);
		expect(evaluator.options.safeParse({ sae: ["one"] }).success).toBe(false);
	});
});
