/** The reference itself: its gradients against central differences of its loss, in float64. */
import { describe, expect, test } from "bun:test";
import { randomState, topkSpec } from "../core/train/specs.ts";
import { randomStream } from "./models.ts";
import { forward, gradients, PARAMETERS, select } from "./train-step.ts";

const D_IN = 6;
const D_SAE = 11;
const ROWS = 7;
const STEP = 1e-5;

describe("gradients of the reference are those of its loss", () => {
	test.each([
		["topk", topkSpec({ k: 3 })],
		["topk whose encoder sees x itself", topkSpec({ k: 3, centre: false })],
		["multi-topk", topkSpec({ k: 2, multi: 6 })],
		["auxk with dead latents", topkSpec({ k: 3, auxk: 2 })],
		["all terms at once", topkSpec({ k: 2, multi: 8, auxk: 3 })],
	])("%s", (_, spec) => {
		const random = randomStream(4);
		const state = { ...randomState(D_IN, D_SAE, random), dead: [1, 4, 5, 9] };
		const { parameters } = state;
		const x = Float64Array.from({ length: ROWS * D_IN }, () => 2 * random() - 1);
		const selection = select(spec, state, x, 1);
		for (const kept of selection) expect(kept.flat().length).toBeGreaterThan(ROWS / 2);
		const pass = forward(spec, state, x, selection);
		const exact = gradients(spec, parameters, x, selection, pass);
		for (const name of PARAMETERS) {
			const values = parameters[name];
			for (const [i, value] of values.entries()) {
				const [above, below] = [value + STEP, value - STEP].map((moved) => {
					values[i] = moved;
					return forward(spec, state, x, selection, pass.detached).loss;
				});
				values[i] = value;
				// The loss is about 1 and its third derivatives are moderate: differences are good to about 1e-10.
				expect(Math.abs((above! - below!) / (2 * STEP) - exact[name][i]!)).toBeLessThan(1e-8);
			}
		}
	});
});

test("the reference keeps positive values only, ties to the lowest index, dead latents for their term", () => {
	const spec = topkSpec({ k: 2, auxk: 3, centre: false });
	const parameters = {
		W_enc: Float64Array.from([1, 1, 1, 0, -1]),
		W_dec: new Float64Array(5).fill(1),
		b_enc: Float64Array.from([0, 1, 0, 1, 1]),
		b_dec: new Float64Array(1),
	};
	const selection = select(spec, { parameters, dead: [0, 2, 4] }, Float64Array.from([1, -5, 0]), 1);
	expect(selection).toEqual([
		[
			[0, 1],
			[3, 4],
			[1, 3],
		],
		[[0, 2], [4], [4]],
	]);
});
