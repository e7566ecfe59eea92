/** Runs a compiled training step beside the float64 reference and compares all that they leave. */
import { expect } from "bun:test";
import { TRAINING_ARRAYS } from "../../../core/gpu/parameters.ts";
import { type StepSettings, TrainStep } from "../../../core/train/step.ts";
import type { Gpu } from "../../../kernels/gpu.ts";
import { randomStream } from "../../reference/models.ts";
import { type State, trainStep } from "../../reference/train-step.ts";
import { arraysOf, randomState, type SpecOptions, topkSpec } from "./specs.ts";

export interface Case extends SpecOptions {
	readonly d_in: number;
	readonly d_sae: number;
	readonly rows: number;
	readonly steps?: number;
	readonly settings?: Partial<StepSettings>;
	readonly format?: "float32" | "float16";
	/** Changes the random state that the case starts from. */
	readonly change?: (state: State, random: () => number) => void;
	/** Changes the random rows. */
	readonly data?: (values: Float32Array, width: number) => void;
}

/**
 * Epsilon is large on purpose: with a small one, Adam makes a step of ±lr of every gradient, also of one that is
 * nothing but rounding, and float32 and float64 drift apart. The formula is the same for both.
 */
export const SETTINGS: StepSettings = {
	lr: 0.01,
	beta1: 0.9,
	beta2: 0.99,
	epsilon: 0.02,
	update: 1,
	clip: 0,
	dead_after: 1e6,
	input_scale: 1,
	progress: 0,
};

/**
 * Of the largest value of an array. float32 rounds to 6e-8; sums of a hundred products and differences of like
 * numbers in the errors cost two digits.
 */
const TOLERANCE = 2e-5;

export async function expectAgreement(gpu: Gpu, given: Case): Promise<void> {
	const { d_in, d_sae, rows, format = "float32" } = given;
	const random = randomStream(7);
	const state = randomState(d_in, d_sae, random);
	given.change?.(state, random);
	const spec = topkSpec(given);
	const clip = (given.settings?.clip ?? 0) > 0;
	const step = await TrainStep.create(gpu, spec, { d_in, d_sae, rows, format, clip });
	step.restore(arraysOf(state), settingsOf(given, 0).dead_after);
	for (const [i, { upload, values }] of batchesOf(given, random).entries()) {
		const settings = settingsOf(given, i);
		const expected = trainStep(spec, state, values, settings);
		step.run(upload, settings, true);
		const report = await step.report();
		expect(report).toMatchObject({ dead: expected.dead, stopped: false });
		expectClose([report.l0], [expected.l0], `l0 of step ${i}`);
		expectClose([report.loss], [expected.loss], `loss of step ${i}`);
		expectClose([report.squaredError], [expected.squaredError], `squared error of step ${i}`);
		if (rows > 1) expectClose([report.fvu!], [expected.fvu], `fvu of step ${i}`);
		expect(Object.keys(report.terms)).toEqual(Object.keys(expected.terms));
		for (const [name, loss] of Object.entries(expected.terms))
			expectClose([report.terms[name]!], [loss], `${name} of step ${i}`);
	}
	const arrays = await readState(step);
	step.close();
	const wanted = arraysOf(state);
	expect(arrays.since).toEqual(wanted.since!);
	for (const name of TRAINING_ARRAYS) {
		const parts = name === "moments.W_enc" || name === "moments.W_dec" ? turns : whole;
		const expected = parts(wanted[name]!, d_in);
		for (const [p, part] of parts(arrays[name]!, d_in).entries())
			expectClose(part, expected[p]!, `${name}, part ${p}`);
	}
}

export async function readState(step: TrainStep): Promise<Record<string, Float32Array | Uint32Array>> {
	const arrays: Record<string, Float32Array | Uint32Array> = {};
	for (const name of TRAINING_ARRAYS) arrays[name] = await step.parameters.read(name);
	return arrays;
}

/** The batches of a case, as they are uploaded and as numbers. */
function batchesOf({ d_in, rows, steps = 3, format, data }: Case, random: () => number) {
	return Array.from({ length: steps }, () => {
		const values = Float32Array.from({ length: rows * d_in }, () => (2 * random() - 1) * 1.7);
		data?.(values, d_in);
		if (format !== "float16") return { upload: values, values };
		const half = new Float16Array(values);
		return { upload: new Uint16Array(half.buffer), values: half };
	});
}

function settingsOf({ settings, steps = 3 }: Case, step: number): StepSettings {
	const merged = { ...SETTINGS, ...settings };
	return { ...merged, update: merged.update + step, progress: step / steps };
}

type Numbers = ArrayLike<number>;

function whole(array: Numbers): Numbers[] {
	return [array];
}

/** Even and odd rows apart: gradients and their squares differ too much in size to be compared together. */
function turns(array: Numbers, width: number): Numbers[] {
	return [0, 1].map((turn) => Array.from(array).filter((_, i) => Math.floor(i / width) % 2 === turn));
}

function expectClose(actual: Numbers, expected: Numbers, what: string): void {
	expect(actual.length).toBe(expected.length);
	let largest = 1e-12;
	let worst = 0;
	for (let i = 0; i < actual.length; i++) {
		largest = Math.max(largest, Math.abs(expected[i]!));
		const difference = Math.abs(actual[i]! - expected[i]!);
		worst = Math.max(worst, Number.isNaN(difference) ? Number.POSITIVE_INFINITY : difference);
	}
	expect(worst / largest, what).toBeLessThan(TOLERANCE);
}
