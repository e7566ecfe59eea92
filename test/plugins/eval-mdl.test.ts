import { describe, expect, test } from "bun:test";
import { core } from "../../core/api.ts";
import type { EvaluatorContribution } from "../../core/plugin.ts";
import mdl from "../../plugins/eval-mdl.ts";
import { referenceContext } from "../reference/context.ts";
import { randomStream } from "../reference/models.ts";
import { identitySae, labelledStream } from "./labelled.ts";

const [evaluator] = mdl.contributes(core) as [EvaluatorContribution];

const evaluate = (rows: number[][], options: Record<string, unknown> = {}, k = rows[0]!.length) =>
	evaluator.evaluate(
		{ model: identitySae(rows[0]!.length, k), stream: labelledStream(rows) },
		evaluator.options.parse(options),
		referenceContext(),
	);

describe("eval mdl", () => {
	test("a latent that is on half of the time, at four values as often each, takes two bits", async () => {
		// 1, 2, 3, 4 are at different levels of the five that 0 to 4 is divided into.
		const rows = Array.from({ length: 800 }, (_, i) => [i % 2 ? 1 + (Math.floor(i / 2) % 4) : 0]);
		const [row] = await evaluate(rows, { levels: "5" });
		expect(row).toMatchObject({ levels: 5, rows: 800, l0: 0.5 });
		expect(row!.address_bits).toBeCloseTo(1, 12);
		expect(row!.value_bits).toBeCloseTo(1, 12);
		expect(row!.bits).toBeCloseTo(2, 12);
	});

	test("agrees with entropies counted one by one, and with rounding by hand", async () => {
		const random = randomStream(2);
		const rows = Array.from({ length: 500 }, () =>
			Array.from({ length: 4 }, (_, d) => (random() < 0.2 * (d + 1) ? Math.fround(random() * (d + 1)) : 0)),
		);
		const result = await evaluate(rows);
		expect(result.map(({ levels }) => levels)).toEqual([4, 6, 8, 12, 16, 32]);
		for (const row of result) {
			const levels = Number(row.levels);
			let bits = 0;
			let [error, total] = [0, 0];
			for (const d of [0, 1, 2, 3]) {
				const column = rows.map((values) => values[d]!);
				const most = Math.max(...column);
				const levelOf = (value: number) => Math.min(levels - 1, Math.floor((value / most) * levels));
				const on = column.filter((value) => value > 0);
				const share = on.length / 500;
				bits -= share * Math.log2(share) + (1 - share) * Math.log2(1 - share);
				for (let level = 0; level < levels; level++) {
					const p = on.filter((value) => levelOf(value) === level).length / on.length;
					if (p > 0) bits -= share * p * Math.log2(p);
				}
				const mean = column.reduce((sum, value) => sum + value, 0) / 500;
				for (const value of column) {
					error += value > 0 ? (value - ((levelOf(value) + 0.5) * most) / levels) ** 2 : 0;
					total += (value - mean) ** 2;
				}
			}
			expect(row.bits).toBeCloseTo(bits, 9);
			expect(row.fvu).toBeCloseTo(0, 9);
			expect(row.fvu_rounded).toBeCloseTo(error / total, 5);
		}
		const chosen = result.filter((row) => row.chosen === 1);
		expect(chosen).toEqual([result.find((row) => Number(row.fvu_rounded) <= 0.01)!]);
		const none = await evaluate(rows, { tolerance: 1e-9 });
		expect(none.map((row) => row.chosen)).toEqual([0, 0, 0, 0, 0, 0]);
	});

	test("latents that never fire cost nothing", async () => {
		const rows = Array.from({ length: 64 }, (_, i) => [i % 2, 0, 0]);
		const [row] = await evaluate(rows, { levels: "4" });
		expect(row).toMatchObject({ bits: 1, value_bits: 0 });
	});
});
