/** Gradients of the reference against central differences of its loss, in float64. */
import { describe, expect, test } from "bun:test";
import type { Penalty, TrainingSpec } from "../../core/architecture.ts";
import { jumpSpec } from "../core/train/specs.ts";
import { caseOf, FAMILIES } from "./cases.ts";
import { learned } from "./encoder.ts";
import { forward, gradients } from "./loss.ts";
import { select } from "./selection.ts";
import { newState } from "./train-step.ts";

const STEP = 1e-5;

/** Parameters whose derivatives are estimates, not derivatives of the loss. */
const STRAIGHT_THROUGH = ["log_threshold"];

type Case = ReturnType<typeof caseOf>;

/** `held`: slopes of penalties of the batch are held, and their functions not looked at. */
function expectGradients(
	{ spec, state, batch, conditions, selection }: Case,
	{ held = true, estimates = STRAIGHT_THROUGH } = {},
): void {
	const pass = forward(spec, state, batch, conditions, selection);
	const { slopes, ...detached } = pass.detached;
	const given = held ? pass.detached : detached;
	const exact = gradients(spec, state, batch, conditions, pass);
	for (const name of learned(spec)) {
		const values = state.parameters[name]!;
		if (estimates.includes(name)) continue;
		expect(exact[name]!.some((slope) => slope !== 0)).toBe(true);
		for (const [i, value] of values.entries()) {
			const [above, below] = [value + STEP, value - STEP].map((moved) => {
				values[i] = moved;
				return forward(spec, state, batch, conditions, selection, given).loss;
			});
			values[i] = value;
			// The loss is about 1 and its third derivatives are moderate: differences are good to about 1e-10.
			expect(Math.abs((above! - below!) / (2 * STEP) - exact[name]![i]!)).toBeLessThan(1e-8);
		}
	}
}

describe("gradients of the reference are those of its loss", () => {
	test.each(Object.entries(FAMILIES))("%s", (_, family) => {
		const given = caseOf(family);
		for (const kept of given.selection) expect(kept.flat().length).toBeGreaterThan(4);
		expectGradients(given);
	});

	test.each([0, 0.7])("a penalty that is a function of its batch mean, tilt %p", (tilt) => {
		const family = FAMILIES.relu_l1!;
		const penalty: Penalty = {
			...family.spec.loss[0].penalty!,
			batch: {
				value: "(s / target - 1.0) * (s / target - 1.0) + s * h",
				slope: "2.0 * (s / target - 1.0) / target + h",
				beside: "1.0",
			},
		};
		const spec: TrainingSpec = {
			...family.spec,
			scalars: { lambda: 0.3, target: 2 },
			loss: [{ ...family.spec.loss[0], penalty }],
		};
		expectGradients(caseOf({ ...family, spec, tilt }), { held: false });
	});

	test("the threshold that dead latents are drawn up to", () => {
		const family = FAMILIES.jumprelu_tanh_revival!;
		const [first] = family.spec.loss;
		// Without its estimate, the codes don't depend on the threshold.
		const { d: _, ...activation } = first.activation!;
		const spec: TrainingSpec = { ...family.spec, loss: [{ ...first, activation }] };
		expectGradients(caseOf({ ...family, spec }), { estimates: [] });
	});

	test("a latent under its threshold is drawn up while it is dead", () => {
		const { spec, state, batch, conditions, selection } = caseOf(FAMILIES.jumprelu_tanh_revival!);
		const revived = forward(spec, state, batch, conditions, selection);
		const alive = forward(spec, { ...state, dead: [] }, batch, conditions, selection);
		expect(revived.revival).toBeGreaterThan(0);
		expect(alive.revival).toBe(0);
		expect(revived.loss - alive.loss).toBeCloseTo(revived.revival, 12);
	});
});

/** One latent that reads and writes x itself, with rows that stand for a normal distribution. */
describe("the threshold's straight-through gradient", () => {
	const [threshold, lambda, bandwidth, rows] = [0.5, 0.35, 0.05, 20_000];
	const penalty: Penalty = {
		value: "select(0.0, 1.0, z > exp(log_threshold))",
		d: {
			log_threshold:
				"select(0.0, -exp(log_threshold) / bandwidth, abs(z - exp(log_threshold)) < 0.5 * bandwidth)",
		},
		weight: "lambda",
	};
	const spec = jumpSpec(penalty, { scalars: { lambda, bandwidth } });
	const one = (value: number) => Float64Array.of(value);
	const conditions = { progress: 0, update: 1 };
	const batch = { x: Float64Array.from({ length: rows }, (_, row) => quantile((row + 0.5) / rows)) };

	function at(value: number) {
		const parameters = {
			W_enc: one(1),
			W_dec: one(1),
			b_enc: one(0),
			b_dec: one(0),
			log_threshold: one(Math.log(value)),
		};
		const state = newState(spec, parameters);
		const pass = forward(spec, state, batch, conditions, select(spec, state, batch, conditions));
		return { pass, gradient: gradients(spec, state, batch, conditions, pass) };
	}
	const byThreshold = at(threshold).gradient.log_threshold![0]! / threshold;

	test("is its formula", () => {
		// −(θ/ε)·∂error/∂f − λ/ε in the window around θ; f is 0 below θ, and x, without error, above.
		let sum = 0;
		for (const z of batch.x) {
			if (Math.abs(z - threshold) >= bandwidth / 2) continue;
			const error = z > threshold ? 0 : -z;
			sum += -(threshold / bandwidth) * 2 * error - lambda / bandwidth;
		}
		expect(byThreshold).toBeCloseTo(sum / rows, 12);
	});

	test("is about the derivative of the expected loss", () => {
		const apart = 0.1;
		const difference = (at(threshold + apart / 2).pass.loss - at(threshold - apart / 2).pass.loss) / apart;
		const density = Math.exp((-threshold * threshold) / 2) / Math.sqrt(2 * Math.PI);
		expect(difference).toBeCloseTo((threshold ** 2 - lambda) * density, 3);
		// The window's lower half has errors of less than θ: that is off by θ·ε/4.
		expect(byThreshold).toBeCloseTo((threshold ** 2 - (threshold * bandwidth) / 4 - lambda) * density, 3);
	});
});

/** Of the standard normal distribution, by bisection. */
function quantile(share: number): number {
	let [low, high] = [-6, 6];
	while (high - low > 1e-9) {
		const middle = (low + high) / 2;
		if (normal(middle) < share) low = middle;
		else high = middle;
	}
	return low;
}

/** Φ, by the series of its integral. */
function normal(x: number): number {
	let term = x;
	let sum = x;
	for (let n = 1; Math.abs(term) > 1e-12; n++) {
		term *= (x * x) / (2 * n + 1);
		sum += term;
	}
	return 0.5 + (sum * Math.exp((-x * x) / 2)) / Math.sqrt(2 * Math.PI);
}
