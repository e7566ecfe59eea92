import { describe, expect, test } from "bun:test";
import { linearLeastSquares } from "../../core/analysis/least-squares.ts";
import { core } from "../../core/api.ts";
import type { EvaluatorContribution } from "../../core/plugin.ts";
import { Moments } from "../../plugins/dark-matter/moments.ts";
import { pursue } from "../../plugins/dark-matter/pursuit.ts";
import darkMatter from "../../plugins/eval-dark-matter.ts";
import { referenceContext } from "../reference/context.ts";
import { randomStream } from "../reference/models.ts";
import { identitySae, labelledStream } from "./labelled.ts";

const [evaluator] = darkMatter.contributes(core) as [EvaluatorContribution];
const random = randomStream(6);
const gauss = () => Math.sqrt(-2 * Math.log(1 - random())) * Math.cos(2 * Math.PI * random());
const WIDTH = 6;

const evaluate = async (rows: number[][], k: number, decoder?: number[][], options = {}) => {
	const input = { model: identitySae(WIDTH, k, decoder), stream: labelledStream(rows) };
	return (await evaluator.evaluate(input, evaluator.options.parse(options), referenceContext()))[0]!;
};
const diagonal = (values: number[]) => values.map((value, i) => values.map((_, j) => (i === j ? value : 0)));

describe("eval dark-matter", () => {
	test("an error that is a linear function of the input is found to be one", async () => {
		// All latents pass and W_dec is diag(1 − a): the error is x · diag(a).
		const shares = [0.5, 0, 0.25, 0.75, 0.5, 0.5];
		const rows = Array.from({ length: 2000 }, () => Array.from({ length: WIDTH }, () => 1 + random()));
		const row = await evaluate(rows, WIDTH, diagonal(shares.map((share) => 1 - share)));
		expect(row.error_r2).toBeCloseTo(1, 6);
		expect(row.fvu_nonlinear).toBeCloseTo(0, 6);
		// Uniform on [1, 2): the mean square is 7/3, the variance 1/12.
		const squares = shares.reduce((sum, share) => sum + share ** 2, 0);
		expect(Number(row.fvu) / ((squares * 7) / 3 / (WIDTH / 12))).toBeCloseTo(1, 1);
		expect((row.fit_rows! as number) + Number(row.test_rows)).toBe(2000);
	});

	test("ReLU of a symmetric input leaves an error with a linear share of known size", async () => {
		// e = x − relu(x) = min(x, 0): for Gaussian x its slope is ½, so R² = (1/4) / Var e, with Var e = ½ − 1/2π.
		const rows = Array.from({ length: 8000 }, () => Array.from({ length: WIDTH }, gauss));
		const row = await evaluate(rows, WIDTH);
		const variance = 0.5 - 1 / (2 * Math.PI);
		expect(Math.abs(Number(row.error_r2) - 0.25 / variance)).toBeLessThan(0.02);
		expect(Math.abs(Number(row.error_r2_per_dim) - 0.25 / variance)).toBeLessThan(0.02);
		expect(Math.abs(Number(row.fvu) - 0.5)).toBeLessThan(0.02);
		expect(Math.abs(Number(row.fvu_nonlinear) - (variance - 0.25))).toBeLessThan(0.02);
	});

	test("a search finds codes that the encoder misses", async () => {
		// The encoder takes dimension 0 for latent 0; the dictionary has the dimensions in reverse.
		const reversed = Array.from({ length: WIDTH }, (_, i) =>
			Array.from({ length: WIDTH }, (_, j) => (i + j === WIDTH - 1 ? 3 : 0)),
		);
		const rows = Array.from({ length: 200 }, (_, i) =>
			Array.from({ length: WIDTH }, (_, d) => (d === i % WIDTH ? 1 + random() : 0)),
		);
		const row = await evaluate(rows, 1, reversed, { pursuit_rows: 20 });
		expect(row).toMatchObject({ pursuit_rows: 20, pursuit_l0: 1, error_of_pursuit: 0 });
		expect(Number(row.error_of_encoder)).toBeCloseTo(10, 4);
		expect(await evaluate(rows, 1, reversed, { pursuit_rows: 0 })).toMatchObject({ error_of_pursuit: null });
	});

	test("refuses fewer rows than coefficients", async () => {
		await expect(evaluate([[1, 2, 3, 4, 5, 6]], 1)).rejects.toThrow("1 rows are too few");
	});
});

test("moments fit as least squares on the rows themselves do, and tell residuals of other rows", () => {
	const x = Array.from({ length: 120 }, () => [gauss() + 3, gauss(), random()]);
	const y = x.map(([a, b, c]) => [a! - 2 * b! + gauss(), c! * a! + 5]);
	const [fit, other] = [new Moments(3, 2), new Moments(3, 2)];
	for (const [i, row] of x.entries()) (i < 80 ? fit : other).add(row, y[i]!);
	const solution = fit.fit();
	const { left, total } = other.residuals(solution);
	for (const target of [0, 1]) {
		const ones = x.map((row) => [...row, 1]);
		const expected = linearLeastSquares(
			ones.slice(0, 80),
			y.slice(0, 80).map((values) => values[target]!),
		)!;
		for (const [i, value] of expected.entries())
			expect(solution.weights[2 * i + target]).toBeCloseTo(value, 5);
		const held = y.slice(80).map((values) => values[target]!);
		const mean = held.reduce((sum, value) => sum + value, 0) / held.length;
		const errors = held.map(
			(value, i) => value - ones[80 + i]!.reduce((sum, a, j) => sum + a * expected[j]!, 0),
		);
		expect(left[target]).toBeCloseTo(
			errors.reduce((sum, e) => sum + e * e, 0),
			5,
		);
		expect(total[target]).toBeCloseTo(
			held.reduce((sum, value) => sum + (value - mean) ** 2, 0),
			8,
		);
	}
});

test("gradient pursuit is exact on orthogonal rows, and takes the shortest way along them first", () => {
	const eye = diagonal([1, 1, 1, 1]).map((row) => Float64Array.from(row));
	expect(pursue(Float64Array.of(3, 0, 0, 0), eye, 1)).toBe(0);
	// The second step moves both codes along (0, 2): all of it.
	expect(pursue(Float64Array.of(3, 2, 0.5, -1), eye, 2)).toBeCloseTo(0.25 + 1, 12);
	// Nothing negative can be coded.
	expect(pursue(Float64Array.of(0, 0, 0, -1), eye, 4)).toBe(1);
	// Rows (1, 0) and (0.6, 0.8), target (1, 1): first 1.4 of the second; the rest (0.16, −0.12) has products 0.16 and 0.
	const skew = [Float64Array.of(1, 0), Float64Array.of(0.6, 0.8)];
	expect(pursue(Float64Array.of(1, 1), skew, 1)).toBeCloseTo(2 - 1.96, 12);
	expect(pursue(Float64Array.of(1, 1), skew, 2)).toBeCloseTo(0.0144, 12);
});
