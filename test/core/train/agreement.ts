/** Runs a compiled training step beside the float64 reference and compares all that they leave. */
import { expect } from "bun:test";
import { type StepSettings, TrainStep } from "../../../core/train/step.ts";
import type { Gpu } from "../../../kernels/gpu.ts";
import { randomStream } from "../../reference/models.ts";
import { type ReferenceSettings, type State, trainStep } from "../../reference/train-step.ts";
import {
	arraysOf,
	type Family,
	randomQuotas,
	randomState,
	type SpecOptions,
	topkSpec,
	widthOf,
} from "./specs.ts";

export interface Case extends Family {
	readonly rows: number;
	/** Rows that are computed at a time. */
	readonly microRows?: number;
	readonly steps?: number;
	readonly settings?: Partial<StepSettings>;
	readonly format?: "float32" | "float16";
	/** Changes the random state that the case starts from. */
	readonly change?: (state: State, random: () => number) => void;
	/** Changes the random rows. */
	readonly data?: (values: Float32Array, width: number) => void;
}

/** A case of TopK, from its options and sizes. */
export function topkCase(
	given: Omit<Case, keyof Family> & SpecOptions & { readonly d_in: number; readonly d_sae: number },
): Case {
	const { d_in, d_sae } = given;
	return { ...given, spec: topkSpec(given), sizes: { d_in, d_out: d_in, d_sae } };
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
/** Weights of rows are exponentials of losses: what float32 loses of a loss of 30 is 1e-5 of them. */
const TILTED_TOLERANCE = 4e-4;

export async function expectAgreement(gpu: Gpu, given: Case): Promise<void> {
	const { spec, sizes, rows, format = "float32", tilt = 0 } = given;
	const expectClose = closeTo(tilt > 0 ? TILTED_TOLERANCE : TOLERANCE);
	const random = randomStream(7);
	const state = randomState(spec, sizes, random);
	given.change?.(state, random);
	const separate = sizes.d_out !== sizes.d_in;
	const step = await TrainStep.create(gpu, spec, {
		d_in: sizes.d_in,
		d_out: separate ? sizes.d_out : undefined,
		d_sae: sizes.d_sae,
		rows,
		microRows: given.microRows,
		format,
		clip: (given.settings?.clip ?? 0) > 0,
		tilted: tilt > 0,
	});
	step.restore(arraysOf(spec, state), settingsOf(given, 0).dead_after);
	state.dead = [...state.since.keys()].filter(
		(latent) => state.since[latent]! >= settingsOf(given, 0).dead_after,
	);
	const quotas = randomQuotas(sizes.d_sae, rows, 3, random);
	const floor = Float32Array.from({ length: sizes.d_sae }, () => 0.02 * random());
	if (spec.allocation) {
		// Quotas are rounded by a draw; a little over a whole number all but never becomes the next.
		step.allocate({ quota: Float32Array.from(quotas, (n) => (n + 1e-5) / rows), floor });
	}
	for (let i = 0; i < (given.steps ?? 3); i++) {
		const inputs = rowsOf(given, sizes.d_in, random);
		const targets = separate ? rowsOf(given, sizes.d_out, random) : undefined;
		const settings = { ...settingsOf(given, i), tilt };
		const reference: ReferenceSettings = { ...settings, quotas, ...(spec.allocation && { floor }) };
		const scaled = (values: Numbers) => Float64Array.from(values, (value) => value * settings.input_scale);
		const batch = { x: scaled(inputs.values), ...(targets && { y: scaled(targets.values) }) };
		const expected = trainStep(spec, state, batch, reference);
		step.run({ inputs: inputs.upload, targets: targets?.upload }, settings, true);
		const report = await step.report();
		expect(report).toMatchObject({ dead: expected.dead, stopped: false });
		expectClose([report.l0], [expected.l0], `l0 of step ${i}`);
		expectClose([report.loss], [expected.loss], `loss of step ${i}`);
		expectClose([report.squaredError], [expected.squaredError], `squared error of step ${i}`);
		if (rows > 1) expectClose([report.fvu!], [expected.fvu], `fvu of step ${i}`);
		expect(Object.keys(report.terms)).toEqual(Object.keys(expected.terms));
		for (const [name, loss] of Object.entries(expected.terms)) {
			expectClose([report.terms[name]!], [loss], `${name} of step ${i}`);
			expectClose([report.penalties[name]!], [expected.penalties[name]!], `penalty of ${name}, step ${i}`);
		}
	}
	const arrays = await readState(step);
	step.close();
	const wanted = arraysOf(spec, state);
	expect(arrays.since).toEqual(wanted.since!);
	for (const [name, expected] of Object.entries(wanted)) {
		const width = widthOf(state.parameters, name.replace("moments.", ""));
		const parts = name.startsWith("moments.") && width !== undefined ? turns : whole;
		const wantedParts = parts(expected, width ?? 0);
		for (const [p, part] of parts(arrays[name]!, width ?? 0).entries())
			expectClose(part, wantedParts[p]!, `${name}, part ${p}`);
	}
}

export async function readState(step: TrainStep): Promise<Record<string, Float32Array | Uint32Array>> {
	const arrays: Record<string, Float32Array | Uint32Array> = {};
	for (const name of step.arrays) arrays[name] = await step.readArray(name);
	return arrays;
}

/** Random rows, as they are uploaded and as numbers. */
function rowsOf({ rows, format, data }: Case, width: number, random: () => number) {
	const values = Float32Array.from({ length: rows * width }, () => (2 * random() - 1) * 1.7);
	data?.(values, width);
	if (format !== "float16") return { upload: values, values };
	const half = new Float16Array(values);
	return { upload: new Uint16Array(half.buffer), values: half };
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

function closeTo(tolerance: number): (actual: Numbers, expected: Numbers, what: string) => void {
	return (actual, expected, what) => {
		expect(actual.length, what).toBe(expected.length);
		let largest = 1e-12;
		let worst = 0;
		for (let i = 0; i < actual.length; i++) {
			largest = Math.max(largest, Math.abs(expected[i]!));
			const difference = Math.abs(actual[i]! - expected[i]!);
			worst = Math.max(worst, Number.isNaN(difference) ? Number.POSITIVE_INFINITY : difference);
		}
		expect(worst / largest, what).toBeLessThan(tolerance);
	};
}
