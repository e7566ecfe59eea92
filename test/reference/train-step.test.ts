/** What the reference's step does beyond its gradient. */
import { describe, expect, test } from "bun:test";
import { caseOf, FAMILIES } from "./cases.ts";
import { forward, gradients } from "./loss.ts";
import { type ReferenceSettings, trainStep } from "./train-step.ts";

const SETTINGS: ReferenceSettings = {
	lr: 0.01,
	beta1: 0.9,
	beta2: 0.99,
	epsilon: 1e-12,
	update: 1,
	clip: 0,
	dead_after: 1e6,
	progress: 0,
};

function copyOf<T>(value: T): T {
	return structuredClone(value);
}

describe("Adam", () => {
	test("moves every parameter by the learning rate at first", () => {
		const { spec, state, batch } = caseOf(FAMILIES.relu_l1!);
		const before = copyOf(state.parameters);
		trainStep(spec, state, batch, SETTINGS);
		for (const [name, values] of Object.entries(state.parameters))
			for (const [i, value] of values.entries())
				expect([0, SETTINGS.lr]).toContainEqual(expect.closeTo(Math.abs(value - before[name]![i]!), 9));
	});

	test("follows its formula in mid-run, by the clipped gradient", () => {
		const { spec, state, batch, conditions, selection } = caseOf(FAMILIES.relu_l1!);
		const slope = gradients(
			spec,
			state,
			batch,
			conditions,
			forward(spec, state, batch, conditions, selection),
		);
		const norm = Math.hypot(...Object.values(slope).flatMap((values) => Array.from(values)));
		const before = state.parameters.b_dec[2]!;
		state.mean.b_dec[2] = 0.3;
		state.square.b_dec[2] = 0.2;
		const settings = { ...SETTINGS, epsilon: 0.1, update: 5, clip: 0.5 };
		expect(trainStep(spec, state, batch, settings).gradientNorm).toBeCloseTo(norm, 12);
		expect(norm).toBeGreaterThan(0.5);
		const g = (slope.b_dec[2]! * 0.5) / (norm + 1e-6);
		const m = 0.9 * 0.3 + 0.1 * g;
		const v = 0.99 * 0.2 + 0.01 * g * g;
		const moved = (0.01 * (m / (1 - 0.9 ** 5))) / (Math.sqrt(v / (1 - 0.99 ** 5)) + 0.1);
		expect(state.parameters.b_dec[2]).toBeCloseTo(before - moved, 12);
	});
});

test("unit rows stay so, and their gradient has no part along them", () => {
	const { spec, state, batch, sizes } = caseOf(FAMILIES.topk!);
	const rowsOf = (values: Float64Array) =>
		Array.from({ length: sizes.d_sae }, (_, row) => values.slice(row * sizes.d_out, (row + 1) * sizes.d_out));
	const before = rowsOf(state.parameters.W_dec);
	trainStep(spec, state, batch, { ...SETTINGS, beta1: 0 });
	const moments = rowsOf(state.mean.W_dec);
	for (const [latent, row] of rowsOf(state.parameters.W_dec).entries()) {
		expect(Math.hypot(...row)).toBeCloseTo(1, 12);
		expect(moments[latent]!.reduce((sum, g, i) => sum + g * before[latent]![i]!, 0)).toBeCloseTo(0, 6);
	}
});

test("a loss that is not finite changes nothing, for good", () => {
	const { spec, state, batch } = caseOf(FAMILIES.batch_topk!);
	const before = copyOf(state);
	const bad = batch.x.slice();
	bad[7] = Number.NaN;
	trainStep(spec, state, { x: bad }, SETTINGS);
	expect(state).toEqual({ ...before, stopped: true });
	trainStep(spec, state, batch, SETTINGS);
	expect(state).toEqual({ ...before, stopped: true });
});

describe("statistics", () => {
	test("latents that did not fire get older, and die; codes of 0 don't count", () => {
		const given = caseOf(FAMILIES.jumprelu!);
		const { spec, state, batch, conditions, selection } = given;
		const { codes } = forward(spec, state, batch, conditions, selection).terms[0]!;
		const entries = codes.flat();
		const fired = new Set(entries.filter(({ f }) => f > 0).map(({ latent }) => latent));
		expect(fired.size).toBeLessThan(new Set(entries.map(({ latent }) => latent)).size);
		state.since.fill(100);
		const report = trainStep(spec, state, batch, { ...SETTINGS, dead_after: 109 });
		expect(Array.from(state.since)).toEqual(Array.from(state.since, (_, i) => (fired.has(i) ? 0 : 109)));
		expect(state.dead).toEqual(Array.from(state.since.keys()).filter((i) => !fired.has(i)));
		expect(report.dead).toBe(state.dead.length);
		expect(report.l0).toBe(entries.filter(({ f }) => f > 0).length / 9);
	});

	test("a threshold follows the batches' smallest codes", () => {
		const { spec, state, batch, conditions, selection } = caseOf(FAMILIES.batch_topk!);
		const smallest = () =>
			Math.min(
				...forward(spec, state, batch, conditions, selection)
					.terms[0]!.codes.flat()
					.map(({ f }) => f),
			);
		const first = smallest();
		trainStep(spec, state, batch, { ...SETTINGS, lr: 0 });
		expect(state.threshold).toEqual(Float64Array.of(first));
		state.threshold[0] = 2;
		trainStep(spec, state, batch, { ...SETTINGS, lr: 0 });
		expect(state.threshold[0]).toBeCloseTo(2 + 0.01 * (first - 2), 12);
	});

	test("thresholds and densities of feature_topk are each latent's own", () => {
		const { spec, state, batch, conditions, selection } = caseOf(FAMILIES.feature_topk!);
		const codes = forward(spec, state, batch, conditions, selection).terms[0]!.codes.flat();
		const of = (latent: number) => codes.filter((code) => code.latent === latent).map(({ f }) => f);
		const own = Array.from(state.since, (_, latent) => of(latent));
		expect(own.some((values) => values.length === 0)).toBe(true);
		const densities = own.map((values) => (0.01 * values.length) / 9);
		const floor = densities.map((density, latent) => (latent % 2 === 0 ? density : density + 1e-9));
		trainStep(spec, state, batch, { ...SETTINGS, quotas: conditions.quotas!, floor });
		const short = (values: number[], latent: number) => values.length < conditions.quotas![latent]!;
		expect(own.some((values, latent) => values.length > 0 && short(values, latent))).toBe(true);
		expect(Array.from(state.threshold)).toEqual(
			own.map((values, latent) => (values.length && !short(values, latent) ? Math.min(...values) : 0)),
		);
		for (const [latent, density] of densities.entries())
			expect(state.density[latent]).toBeCloseTo(density, 12);
		expect(state.dead).toEqual([1, 3, 5, 7, 9, 11, 13, 15]);
	});
});

test("the L0 controller multiplies the sparsity's weight", () => {
	const { spec, state, batch } = caseOf(FAMILIES.relu_l1!);
	const penalty = (sparsity: number) =>
		trainStep(spec, copyOf(state), batch, { ...SETTINGS, sparsity }).penalties.reconstruction!;
	expect(penalty(3)).toBeCloseTo(3 * penalty(1), 12);
});
