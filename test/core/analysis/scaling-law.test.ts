/** Laws whose parameters are known are found again, and what does not suffice for one is refused. */
import { describe, expect, test } from "bun:test";
import { fitScalingLaw, type ScalingPoint } from "../../../core/analysis/scaling-law.ts";
import { randomStream } from "../../reference/models.ts";

/** Those of GPT-4's activations in Gao et al. 2024. */
const PUBLISHED = { alpha: -0.5, beta_k: 0.26, beta_n: -0.017, gamma: -0.042, zeta: -1.32, eta: -0.085 };
const SIZES = [2048, 8192, 32768, 131072, 524288];
const SPARSITIES = [8, 16, 32, 64, 128, 256];

type Joint = typeof PUBLISHED;

const joint = (p: Joint) => (n: number, k: number) =>
	Math.exp(p.alpha + p.beta_k * Math.log(k) + p.beta_n * Math.log(n) + p.gamma * Math.log(k) * Math.log(n)) +
	Math.exp(p.zeta + p.eta * Math.log(k));

const bySize = (alpha: number, beta: number, floor: number) => (n: number) =>
	Math.exp(alpha + beta * Math.log(n)) + floor;

/** Normally distributed, by Box and Muller. */
function normal(random: () => number): number {
	return Math.sqrt(-2 * Math.log(1 - random())) * Math.cos(2 * Math.PI * random());
}

function grid(
	loss: (n: number, k: number) => number,
	noise = 0,
	sizes = SIZES,
	sparsities = SPARSITIES,
): ScalingPoint[] {
	const random = randomStream(7);
	return sizes.flatMap((n) =>
		sparsities.map((k) => ({ n, k, loss: loss(n, k) * Math.exp(noise * normal(random)) })),
	);
}

const values = ({ parameters }: ReturnType<typeof fitScalingLaw>) =>
	Object.fromEntries(parameters.map(({ name, value }) => [name, value]));

describe("without noise", () => {
	test.each<[string, Joint]>([
		["the published law", PUBLISHED],
		["a steep law", { alpha: 3, beta_k: -0.2, beta_n: -0.5, gamma: 0.01, zeta: -3, eta: -0.3 }],
		["one that is nearly all irreducible", { ...PUBLISHED, alpha: -3, zeta: -0.5 }],
		["one whose irreducible part grows with k", { ...PUBLISHED, eta: 0.05 }],
	])("%s is found again", (_, parameters) => {
		const law = fitScalingLaw("n, k", grid(joint(parameters)));
		for (const [name, value] of Object.entries(values(law)))
			expect(value).toBeCloseTo(parameters[name as keyof Joint], 6);
		expect(law.rms).toBeLessThan(1e-10);
		expect(law.r2).toBeCloseTo(1, 12);
		expect(law.predict(1e6, 50)).toBeCloseTo(joint(parameters)(1e6, 50), 8);
	});

	test("L(n) is found again, from as few points as it takes", () => {
		const loss = bySize(2, -0.4, 0.05);
		const law = fitScalingLaw("n", grid(loss, 0, [512, 2048, 8192, 32768], [32]));
		expect(values(law)).toEqual({
			alpha: expect.closeTo(2, 6),
			beta_n: expect.closeTo(-0.4, 6),
			zeta: expect.closeTo(Math.log(0.05), 6),
		});
		expect(law.points.map(({ residual }) => residual)).toEqual(law.points.map(() => expect.closeTo(0, 10)));
	});

	test("a power law that nothing stops has no irreducible part", () => {
		const law = fitScalingLaw("n", grid(bySize(1, -0.3, 0), 0, SIZES, [32]));
		expect(values(law)).toEqual({ alpha: expect.closeTo(1, 8), beta_n: expect.closeTo(-0.3, 8), zeta: null });
		expect(law.predict(1e9, 32)).toBeCloseTo(Math.exp(1 - 0.3 * Math.log(1e9)), 8);
	});
});

test.each([0.003, 0.01, 0.03])(
	"with noise of %d, residuals are of its size and errors tell the truth",
	(noise) => {
		const law = fitScalingLaw("n, k", grid(joint(PUBLISHED), noise));
		// 30 points, 6 parameters: residuals keep sqrt(24 / 30) of the noise, with a deviation of 14 %.
		expect(law.rms / noise).toBeGreaterThan(0.89 * 0.6);
		expect(law.rms / noise).toBeLessThan(0.89 * 1.4);
		for (const { name, value, error } of law.parameters) {
			const off = Math.abs(value! - PUBLISHED[name as keyof Joint]);
			expect(off, name).toBeLessThan(4 * error!);
			expect(error!, name).toBeGreaterThan(0);
		}
		for (const { loss, fitted, residual } of law.points)
			expect(residual).toBeCloseTo(Math.log(loss) - Math.log(fitted), 10);
		expect(law.r2).toBeLessThan(1);
		expect(law.r2).toBeGreaterThan(0.97);
	},
);

test("rows that a power law can't explain have residuals", () => {
	const bump = (n: number) => bySize(2, -0.4, 0.05)(n) * (n === 32768 ? 1.5 : 1);
	const law = fitScalingLaw("n", grid(bump, 0, SIZES, [32]));
	expect(law.rms).toBeGreaterThan(0.05);
	expect(law.r2).toBeLessThan(0.98);
});

describe("refused", () => {
	const loss = joint(PUBLISHED);

	test.each<[string, () => unknown, string]>([
		[
			"too few points",
			() => fitScalingLaw("n, k", grid(loss, 0, [1, 2, 4], [8, 16])),
			"L(n, k) needs at least 7 points of 3 sizes and 2 sparsities; there are 6 points of 3 sizes and 2 sparsities",
		],
		[
			"too few sizes",
			() => fitScalingLaw("n, k", grid(loss, 0, [1, 2])),
			"there are 12 points of 2 sizes and 6 sparsities",
		],
		[
			"one sparsity",
			() => fitScalingLaw("n, k", grid(loss, 0, [1, 2, 3, 4, 5, 6, 7], [8])),
			"and 1 sparsity",
		],
		[
			"too few sizes for L(n)",
			() => fitScalingLaw("n", grid(loss, 0, [1, 2, 4], [8])),
			"L(n) needs at least 4 points of 4 sizes; there are 3 points of 3 sizes",
		],
		[
			"a loss of 0",
			() =>
				fitScalingLaw(
					"n",
					grid(() => 0, 0, SIZES, [8]),
				),
			"must be positive",
		],
		[
			"sizes and sparsities that change together",
			() =>
				fitScalingLaw(
					"n, k",
					grid(loss).map((point) => ({ ...point, k: point.n })),
				),
			"the points do not determine L(n, k)",
		],
	])("%s", (_, fit, message) => {
		expect(fit).toThrow(message);
	});
});
