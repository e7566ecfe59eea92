/** Batches that are computed a few rows at a time: by the reference, and beside the same batches computed at once. */
import { afterAll, beforeAll, describe, expect, test } from "bun:test";
import type { TrainingSpec } from "../../../core/architecture.ts";
import { openGpu } from "../../../core/gpu/device.ts";
import { type StepRows, type StepSettings, TrainStep } from "../../../core/train/step.ts";
import { Gpu } from "../../../kernels/gpu.ts";
import { PLAIN_HALF_PRODUCT } from "../../kernels/half-product.ts";
import { randomStream } from "../../reference/models.ts";
import type { State } from "../../reference/train-step.ts";
import { type Case, expectAgreement, readState, SETTINGS, topkCase } from "./agreement.ts";
import { arraysOf, families, randomState } from "./specs.ts";

let gpu: Gpu;
beforeAll(async () => {
	gpu = await openGpu();
});
afterAll(() => gpu.close());

/** Sizes are those of the step's tests, since a software driver takes seconds to compile kernels for others. */
const SIZES = { d_in: 17, d_out: 17, d_sae: 130 };
const MICRO = 37;
/** The last micro-batch has 11 rows. */
const ROWS = MICRO + 11;
const FAMILIES = families(SIZES);

describe("agree with the reference", () => {
	/** Every selection and every kind of loss. Kernels depend on how many rows there are, so that few have a shorter rest. */
	const whole = ["group_max", "product_keys", "matryoshka", "lp_held", "archetypal_l1"];
	const rest = [
		"multi_topk_auxk",
		"batch_topk",
		"feature_topk",
		"jumprelu_tanh_revival",
		"skip_transcoder_tilted",
	];
	test.each([
		...whole.map((name) => [name, 2 * MICRO] as const),
		...rest.map((name) => [name, ROWS] as const),
	])("%s in %d rows, clipped, while latents die", (name, rows) =>
		expectAgreement(gpu, {
			...FAMILIES[name]!,
			rows,
			microRows: MICRO,
			settings: { clip: 0.3, dead_after: 60 },
			change: someDead,
		}),
	);

	test("of float16 rows, an odd number of them", () =>
		expectAgreement(gpu, topkCase({ ...SIZES, rows: 14, microRows: 7, k: 4, format: "float16" })));

	test("with an encoder of halved operands", () => {
		const halved = { device: gpu.device, info: gpu.info, keepAlive: [], halfProduct: PLAIN_HALF_PRODUCT };
		return expectAgreement(new Gpu(halved), topkCase({ ...SIZES, rows: 2 * MICRO, microRows: MICRO, k: 4 }));
	});

	test("when one micro-batch has more codes than there is room for", () =>
		expectAgreement(gpu, {
			...families({ ...SIZES, d_sae: 700 }).relu!,
			rows: ROWS,
			microRows: MICRO,
			steps: 2,
			change: ({ parameters }) => parameters.b_enc.fill(0.4),
			// Small rows leave most latents over 0, large ones half of them.
			data: (values, width) => {
				for (let i = 0; i < 20 * width; i++) values[i]! *= 3;
				for (let i = 20 * width; i < values.length; i++) values[i]! *= 0.05;
			},
		}));
});

describe("beside the same batch at once", () => {
	/** Equal rows among others, and equal latents, so that what is kept is a matter of order. */
	const alike = ({ parameters }: State) => {
		parameters.W_enc.copyWithin(10 * SIZES.d_in, 0);
		parameters.b_enc.fill(0.1);
	};
	const rows = equalRows();

	test.each(["batch_topk", "feature_topk"])("%s selects the same among equals", async (name) => {
		const { spec } = FAMILIES[name]!;
		const [whole, split] = await Promise.all(
			[undefined, MICRO].map(async (microRows) => {
				const step = await begin(spec, microRows, { change: alike });
				step.run({ inputs: rows }, { ...SETTINGS, dead_after: 60 }, false);
				const { loss, l0 } = await step.report();
				const { since, threshold, density } = await readState(step);
				const errors = await step.rowErrors();
				step.close();
				return { loss, l0, since, threshold, density, errors };
			}),
		);
		expect(split).toEqual(whole!);
		expect(new Set(whole!.errors).size).toBeGreaterThan(3);
	});

	test.each(["batch_topk", "jumprelu_tanh_revival"])(
		"%s leaves the same but for rounding, averages and all",
		async (name) => {
			const { spec } = FAMILIES[name]!;
			const settings = { ...SETTINGS, clip: 0.3, dead_after: 60, ema: 0.5, target_l0: 5 };
			const [whole, split] = await Promise.all(
				[undefined, MICRO].map(async (microRows) => {
					const step = await begin(spec, microRows, { averaged: true });
					await runAll(step, settings, 0, 4);
					const seen = await step.evaluate({ inputs: batch(9) }, settings);
					const state = await readState(step);
					step.close();
					return { seen, state };
				}),
			);
			expect(split!.seen.squaredError / whole!.seen.squaredError).toBeCloseTo(1, 5);
			expect(split!.seen).toMatchObject({ l0: whole!.seen.l0, fvu: null });
			expect(Object.keys(split!.state)).toEqual(Object.keys(whole!.state));
			for (const [array, values] of Object.entries(whole!.state)) {
				const others = split!.state[array]!;
				const largest = Math.max(...Array.from(values, Math.abs), 1e-12);
				const furthest = Math.max(...Array.from(values, (value, i) => Math.abs(value - others[i]!)));
				expect(furthest / largest, array).toBeLessThan(3e-6);
			}
		},
	);

	test("micro-batches as large as the batch, or larger, leave the same bits", async () => {
		const { spec } = FAMILIES.multi_topk_auxk!;
		const states = await Promise.all(
			[undefined, ROWS, 100].map(async (microRows) => {
				const step = await begin(spec, microRows);
				await runAll(step, SETTINGS, 0, 2);
				const state = await readState(step);
				step.close();
				return state;
			}),
		);
		expect(states[1]).toEqual(states[0]!);
		expect(states[2]).toEqual(states[0]!);
	});
});

test("a state that is put back goes on with the same bits", async () => {
	const { spec } = FAMILIES.batch_topk!;
	const settings = { ...SETTINGS, clip: 0.3, dead_after: 60 };
	const [whole, resumed] = [await begin(spec, MICRO, { change: someDead }), await begin(spec, MICRO)];
	await runAll(whole, settings, 0, 2);
	resumed.restore(await readState(whole), settings.dead_after);
	for (const step of [whole, resumed]) await runAll(step, settings, 2, 4);
	expect(await readState(resumed)).toEqual(await readState(whole));
	expect((await whole.report()).dead).toBeGreaterThan(0);
	for (const step of [whole, resumed]) step.close();
});

test("a row of the last micro-batch that is not finite stops all updates", async () => {
	const step = await begin(FAMILIES.multi_topk_auxk!.spec, MICRO);
	await runAll(step, SETTINGS, 0, 1);
	const before = await readState(step);
	const bad = batch(1);
	bad[bad.length - 1] = Number.NaN;
	step.run({ inputs: bad }, { ...SETTINGS, update: 2 }, false);
	expect(await step.report()).toMatchObject({ stopped: true });
	await runAll(step, SETTINGS, 2, 3);
	expect(await readState(step)).toEqual(before);
	step.close();
});

test("more latents than a device can count for feature_topk are refused", () => {
	const small = new Gpu({ device: gpu.device, info: gpu.info, keepAlive: [] }, 200_000);
	const shape = {
		...SIZES,
		d_out: undefined,
		rows: ROWS,
		microRows: MICRO,
		format: "float32",
		clip: false,
	} as const;
	return expect(TrainStep.create(small, FAMILIES.feature_topk!.spec, shape)).rejects.toThrow(
		"bounds of 130 latents can't be counted",
	);
});

function someDead({ since, parameters }: State, random: () => number): void {
	for (let latent = 0; latent < since.length; latent += 1 + Math.floor(9 * random())) {
		since[latent] = 60;
		parameters.b_enc[latent] = -3;
	}
}

function batch(seed: number): Float32Array<ArrayBuffer> {
	const random = randomStream(seed);
	return Float32Array.from({ length: ROWS * SIZES.d_in }, () => 2 * random() - 1);
}

/** Four kinds of rows, in turn. */
function equalRows(): Float32Array {
	const rows = batch(6);
	return rows.copyWithin(4 * SIZES.d_in, 0, rows.length - 4 * SIZES.d_in);
}

async function begin(
	spec: TrainingSpec,
	microRows: number | undefined,
	{ averaged = false, change }: Pick<Case, "change"> & { readonly averaged?: boolean } = {},
): Promise<TrainStep> {
	const random = randomStream(3);
	const state = randomState(spec, SIZES, random);
	change?.(state, random);
	const { d_in, d_sae } = SIZES;
	const shape = { d_in, d_sae, rows: ROWS, microRows, format: "float32", clip: true, averaged } as const;
	const step = await TrainStep.create(gpu, spec, shape);
	step.restore(arraysOf(spec, state), 60);
	if (spec.allocation) {
		// Some latents have no quota, some more than they have positive values for.
		const quota = Float32Array.from({ length: d_sae }, (_, i) => (i % 11 === 0 ? 1 : (i % 5) * 0.02));
		step.allocate({ quota, floor: new Float32Array(d_sae).fill(0.001) });
	}
	return step;
}

async function runAll(step: TrainStep, settings: StepSettings, from: number, to: number): Promise<void> {
	for (let i = from; i < to; i++) {
		const rows: StepRows = { inputs: batch(i) };
		step.run(rows, { ...settings, update: i + 1 }, false);
	}
	await step.report();
}
