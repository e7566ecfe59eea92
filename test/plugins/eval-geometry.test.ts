import { describe, expect, test } from "bun:test";
import { core } from "../../core/api.ts";
import type { EvaluatorContribution } from "../../core/plugin.ts";
import { Cooccurrence, phi } from "../../plugins/cooccurrence/counts.ts";
import geometry from "../../plugins/eval-geometry.ts";
import { symmetricEigen } from "../../plugins/geometry/eigen.ts";
import { adjustedMutualInformation, mutualInformation } from "../../plugins/geometry/lobes.ts";
import { covarianceEigenvalues, powerLaw } from "../../plugins/geometry/spectrum.ts";
import { referenceContext } from "../reference/context.ts";
import { randomStream } from "../reference/models.ts";
import { identitySae, labelledStream } from "./labelled.ts";

const [evaluator] = geometry.contributes(core) as [EvaluatorContribution];
const WIDTH = 24;
const random = randomStream(4);
/** Blocks of 4 rows are about one of two topics, whose latents are the even and the odd ones. */
const rows = Array.from({ length: 1600 }, (_, i) => {
	const topic = (Math.floor(i / 4) * 7) % 3 === 0 ? 1 : 0;
	return Array.from({ length: WIDTH }, (_, d) => (d % 2 === topic && random() < 0.15 ? 1 + random() : 0));
});
/** Decoder rows about one of two directions, by `side` of each latent. */
const about = (side: (latent: number) => number) =>
	Array.from({ length: WIDTH }, (_, latent) =>
		Array.from({ length: WIDTH }, (_, d) => (d === side(latent) ? 2 : 0) + (random() - 0.5) / 2),
	);

const evaluate = async (decoder: number[][], options: Record<string, unknown> = {}, width = WIDTH) => {
	const input = { model: identitySae(width, 8, decoder), stream: labelledStream(rows) };
	const parsed = evaluator.options.parse({ block: 4, ...options });
	return (await evaluator.evaluate(input, parsed, referenceContext()))[0]!;
};

describe("eval geometry", () => {
	test("latents that are on together and lie together agree, in clusters and lobes", async () => {
		const decoder = about((latent) => latent % 2);
		const row = await evaluate(decoder);
		expect(row).toMatchObject({ blocks: 400, counted_latents: WIDTH, lobe_latents: WIDTH, lobe_ami: 1 });
		expect(row).toMatchObject({ clusters: 2, largest_cluster: WIDTH / 2, clustered: 1 });
		expect(Number(row.lobe_mi_z)).toBeGreaterThan(3);
		const units = decoder.map((values) => values.map((value) => value / Math.hypot(...values)));
		const cosines = units.flatMap((a, i) =>
			units.slice(0, i).map((b) => a.reduce((sum, value, d) => sum + value * b[d]!, 0)),
		);
		const mean = cosines.reduce((sum, value) => sum + value, 0) / cosines.length;
		expect(row.cosine_mean).toBeCloseTo(mean, 5);
		expect(row.max_cosine_max).toBeCloseTo(Math.max(...cosines), 5);
	});

	test("they do not when directions are of something else", async () => {
		const row = await evaluate(about((latent) => (latent < WIDTH / 2 ? 0 : 1)));
		expect(Math.abs(Number(row.lobe_ami))).toBeLessThan(0.1);
		expect(row.clusters).toBe(2);
	});

	test("counts the latents that are on most often where it may not count all", async () => {
		expect(
			await evaluate(
				about((latent) => latent % 2),
				{ most_latents: 18 },
			),
		).toMatchObject({
			counted_latents: 18,
			lobe_latents: 18,
			lobe_ami: 1,
		});
		expect(
			await evaluate(
				about((latent) => latent % 2),
				{ least_blocks: 300 },
			),
		).toMatchObject({
			lobe_latents: 0,
			lobe_ami: null,
		});
	});
});

describe("co-occurrence", () => {
	const sets = Array.from({ length: 5000 }, () =>
		[0, 1, 2, 3, 4, 5].filter((latent) => random() < 0.15 * latent),
	);
	const counted = (most: number) => {
		const counts = new Cooccurrence(6, most);
		for (const set of sets) counts.add(Uint32Array.from(set));
		return counts.finish();
	};
	test("φ is the correlation of being on", () => {
		const counts = counted(6);
		const on = (latent: number) => sets.map((set) => Number(set.includes(latent)));
		const mean = (values: number[]) => values.reduce((sum, value) => sum + value, 0) / values.length;
		const covariance = (a: number[], b: number[]) =>
			mean(a.map((value, i) => value * b[i]!)) - mean(a) * mean(b);
		for (const [i, j] of [
			[1, 2],
			[5, 3],
			[4, 4],
		] as const) {
			const [a, b] = [on(i), on(j)];
			const expected = covariance(a, b) / Math.sqrt(covariance(a, a) * covariance(b, b));
			expect(phi(counts, i, j)).toBeCloseTo(expected, 9);
		}
		expect(phi(counts, 0, 3)).toBeNull();
	});

	test("the most frequent latents are counted over all sets, also those that chose them", () => {
		const [all, some] = [counted(6), counted(3)];
		expect([...some.latents]).toEqual([3, 4, 5]);
		expect(some.sets).toBe(5000);
		for (const i of [0, 1, 2])
			for (const j of [0, 1, 2]) expect(some.together(i, j)).toBe(all.together(i + 3, j + 3));
	});
});

describe("eigenvalues", () => {
	test("and vectors of a symmetric matrix solve A v = λ v, with the trace as their sum", () => {
		const n = 30;
		const a = Array.from({ length: n }, () => new Float64Array(n));
		for (let i = 0; i < n; i++) for (let j = 0; j <= i; j++) a[i]![j] = a[j]![i] = random() - 0.5;
		const { values, vectors } = symmetricEigen(
			a.map((row) => row.slice()),
			true,
		);
		for (const [k, vector] of vectors.entries()) {
			for (const [i, row] of a.entries()) {
				const product = row.reduce((sum, value, j) => sum + value * vector[j]!, 0);
				expect(Math.abs(product - values[k]! * vector[i]!)).toBeLessThan(1e-10);
			}
		}
		expect(values.reduce((sum, value) => sum + value, 0)).toBeCloseTo(
			a.reduce((sum, row, i) => sum + row[i]!, 0),
			9,
		);
		expect([...values].every((value, i) => i === 0 || value >= values[i - 1]!)).toBe(true);
	});

	test("of a path graph are 2 − 2 cos(π k / n)", () => {
		const n = 12;
		const path = Array.from({ length: n }, (_, i) =>
			Float64Array.from({ length: n }, (_, j) => {
				if (Math.abs(i - j) === 1) return -1;
				if (i !== j) return 0;
				return i === 0 || i === n - 1 ? 1 : 2;
			}),
		);
		const { values } = symmetricEigen(path, false);
		for (const [k, value] of values.entries())
			expect(value).toBeCloseTo(2 - 2 * Math.cos((Math.PI * k) / n), 9);
	});

	test("follow the power law that made them", () => {
		const width = 40;
		// Rows ± s e_i: the covariance is diagonal, with s² / width at each i.
		const data = Array.from({ length: 2 * width }, (_, row) =>
			Array.from({ length: width }, (_, d) => {
				const size = (d + 1) ** -0.6;
				return Math.floor(row / 2) === d ? (row % 2 ? -size : size) : 0;
			}),
		).flat();
		const values = covarianceEigenvalues({ rows: 2 * width, width, data });
		expect(values[0]).toBeCloseTo(1 / width, 9);
		expect(powerLaw(values)!.exponent).toBeCloseTo(1.2, 6);
		expect(powerLaw(values.subarray(0, 11))).toBeNull();
	});
});

test("mutual information is that of the table, adjusted by its mean over all permutations", () => {
	const [a, b] = [Int32Array.of(0, 0, 0, 1, 1), Int32Array.of(0, 1, 0, 1, 1)];
	const permutations = (items: readonly number[]): number[][] =>
		items.length === 0
			? [[]]
			: items.flatMap((item, i) => permutations(items.toSpliced(i, 1)).map((rest) => [item, ...rest]));
	const all = permutations([...b]).map((order) => mutualInformation(a, Int32Array.from(order)));
	const expected = all.reduce((sum, value) => sum + value, 0) / all.length;
	const entropy = -(0.6 * Math.log(0.6) + 0.4 * Math.log(0.4));
	const mi =
		0.4 * Math.log(0.4 / (0.6 * 0.4)) + 0.2 * Math.log(0.2 / (0.6 * 0.6)) + 0.4 * Math.log(0.4 / (0.4 * 0.6));
	expect(mutualInformation(a, b)).toBeCloseTo(mi, 12);
	expect(adjustedMutualInformation(a, b)).toBeCloseTo((mi - expected) / (entropy - expected), 9);
	expect(adjustedMutualInformation(a, a)).toBeCloseTo(1, 12);
});
