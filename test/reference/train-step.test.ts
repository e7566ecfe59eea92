/** The reference itself: its gradients against central differences of its loss, in float64. */
import { describe, expect, test } from "bun:test";
import { families, randomQuotas, randomState } from "../core/train/specs.ts";
import type { Batch, Conditions } from "./encoder.ts";
import { forward, gradients } from "./loss.ts";
import { randomStream } from "./models.ts";
import { select } from "./selection.ts";

const SIZES = { d_in: 6, d_out: 6, d_sae: 16 };
const ROWS = 9;
const STEP = 1e-5;

/** Parameters whose derivatives are estimates, not derivatives of the loss. */
const STRAIGHT_THROUGH = ["log_threshold"];

describe("gradients of the reference are those of its loss", () => {
	test.each(Object.entries(families(SIZES)))("%s", (_, { spec, sizes, tilt = 0 }) => {
		const random = randomStream(4);
		const state = { ...randomState(spec, sizes, random), dead: [1, 4, 5, 9] };
		const uniform = (width: number) => Float64Array.from({ length: ROWS * width }, () => 2 * random() - 1);
		const batch: Batch = {
			x: uniform(sizes.d_in),
			...(sizes.d_out === sizes.d_in ? {} : { y: uniform(sizes.d_out) }),
		};
		const quotas = randomQuotas(sizes.d_sae, ROWS, 3, random);
		const conditions: Conditions = { progress: 0, update: 1, tilt, quotas };
		const selection = select(spec, state, batch, conditions);
		for (const kept of selection) expect(kept.flat().length).toBeGreaterThan(ROWS / 2);
		const pass = forward(spec, state, batch, conditions, selection);
		const exact = gradients(spec, state, batch, conditions, pass);
		for (const [name, values] of Object.entries(state.parameters)) {
			if (STRAIGHT_THROUGH.includes(name)) continue;
			expect(exact[name]!.some((slope) => slope !== 0)).toBe(true);
			for (const [i, value] of values.entries()) {
				const [above, below] = [value + STEP, value - STEP].map((moved) => {
					values[i] = moved;
					return forward(spec, state, batch, conditions, selection, pass.detached).loss;
				});
				values[i] = value;
				// The loss is about 1 and its third derivatives are moderate: differences are good to about 1e-10.
				expect(Math.abs((above! - below!) / (2 * STEP) - exact[name]![i]!)).toBeLessThan(1e-8);
			}
		}
	});
});
