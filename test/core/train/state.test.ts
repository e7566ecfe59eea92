/** What a training step keeps between calls: the same bits again, resumed or stopped. */
import { afterAll, beforeAll, describe, expect, test } from "bun:test";
import type { TrainingSpec } from "../../../core/architecture.ts";
import { openGpu } from "../../../core/gpu/device.ts";
import { TrainStep } from "../../../core/train/step.ts";
import { Gpu } from "../../../kernels/gpu.ts";
import { forward } from "../../reference/loss.ts";
import { randomStream } from "../../reference/models.ts";
import { select } from "../../reference/selection.ts";
import { spreadOf } from "../../reference/vectors.ts";
import { readState, SETTINGS } from "./agreement.ts";
import { arraysOf, families, randomState, topkSpec } from "./specs.ts";

let gpu: Gpu;
beforeAll(async () => {
	gpu = await openGpu();
});
afterAll(() => gpu.close());

const SHAPE = { d_in: 17, d_sae: 130, rows: 37, format: "float32", clip: true } as const;
const spec = topkSpec({ k: 4, multi: 9, auxk: 20 });
const settings = { ...SETTINGS, clip: 0.5, dead_after: 70 };

const random = randomStream(3);
const start = randomState(spec, { ...SHAPE, d_out: SHAPE.d_in }, random);
const batches = Array.from({ length: 6 }, () =>
	Float32Array.from({ length: SHAPE.rows * SHAPE.d_in }, () => (2 * random() - 1) * 1.7),
);

async function begin(state = arraysOf(spec, start)): Promise<TrainStep> {
	const step = await TrainStep.create(gpu, spec, SHAPE);
	step.restore(state, settings.dead_after);
	return step;
}

function runAll(step: TrainStep, from: number, to: number): void {
	for (let i = from; i < to; i++) step.run({ inputs: batches[i]! }, { ...settings, update: i + 1 }, false);
}

test("the same steps give the same bits, also when a state is read and put back between them", async () => {
	const [whole, again, first] = [await begin(), await begin(), await begin()];
	runAll(whole, 0, 6);
	runAll(again, 0, 6);
	runAll(first, 0, 3);
	const resumed = await begin(await readState(first));
	runAll(resumed, 3, 6);
	const expected = await readState(whole);
	expect(await readState(again)).toEqual(expected);
	expect(await readState(resumed)).toEqual(expected);
	expect((await resumed.report()).dead).toBeGreaterThan(0);
	for (const step of [whole, again, first, resumed]) step.close();
});

describe("dense matrices", () => {
	const sizes = { d_in: 17, d_out: 17, d_sae: 130 };
	test.each(["skip_transcoder", "archetypal"])(
		"%s: a state that is put back goes on with the same bits",
		async (name) => {
			const { spec, sizes: own } = families(sizes)[name]!;
			const { d_in, d_out, d_sae } = own;
			const separate = d_out !== d_in;
			const shape = { d_in, d_out: separate ? d_out : undefined, d_sae, rows: SHAPE.rows };
			const create = () =>
				TrainStep.create(gpu, spec, { ...shape, format: "float32", clip: true, averaged: true });
			const rows = (width: number) =>
				Float32Array.from({ length: SHAPE.rows * width }, () => 2 * random() - 1);
			const batches = [0, 1].map(() => ({ inputs: rows(d_in), targets: separate ? rows(d_out) : undefined }));
			const [whole, resumed] = [await create(), await create()];
			whole.restore(arraysOf(spec, randomState(spec, own, random)), settings.dead_after);
			whole.run(batches[0]!, { ...settings, ema: 0.5 }, false);
			resumed.restore(await readState(whole), settings.dead_after);
			// What is seen by looking is what the step begins from.
			const seen = await resumed.evaluate(batches[1]!, settings);
			for (const step of [whole, resumed]) step.run(batches[1]!, { ...settings, update: 2, ema: 0.5 }, false);
			expect((await whole.report()).squaredError).toBe(seen.squaredError);
			expect(await readState(resumed)).toEqual(await readState(whole));
			for (const step of [whole, resumed]) step.close();
		},
	);

	test("are refused where they have no meaning or don't fit", async () => {
		const { skip_transcoder, archetypal } = families(sizes);
		const refused = (spec: TrainingSpec, message: string) =>
			expect(TrainStep.create(gpu, spec, SHAPE)).rejects.toThrow(message);
		const without = (spec: TrainingSpec, name: string) => ({
			...spec,
			parameters: spec.parameters.filter((parameter) => parameter.name !== name),
		});
		await refused(skip_transcoder!.spec, "targets that are others than the inputs");
		await refused(without(archetypal!.spec, "mixture"), "mixture has to be [d_sae, 32], not missing");
		const { decoder: _, ...plain } = archetypal!.spec;
		await refused(plain, "candidates is an archetypal decoder's");
		const small = new Gpu({ device: gpu.device, info: gpu.info, keepAlive: [] }, 50_000);
		await expect(TrainStep.create(small, archetypal!.spec, SHAPE)).rejects.toThrow("don't fit in one buffer");
	});
});

describe("a row that is not finite", () => {
	test.each([Number.NaN, Number.POSITIVE_INFINITY])("%p stops all updates, for good", async (value) => {
		const step = await begin();
		runAll(step, 0, 2);
		const { since: _, ...before } = await readState(step);
		const bad = batches[2]!.slice();
		bad[100] = value;
		step.run({ inputs: bad }, { ...settings, update: 3 }, false);
		expect(await step.report()).toMatchObject({ stopped: true });
		runAll(step, 3, 5);
		expect(await step.report()).toMatchObject({ stopped: true });
		const { since: __, ...after } = await readState(step);
		step.close();
		expect(after).toEqual(before);
	});
});

test("evaluation measures the first term on float32 rows and changes nothing", async () => {
	const step = await TrainStep.create(gpu, spec, { ...SHAPE, format: "float16" });
	step.restore(arraysOf(spec, start), settings.dead_after);
	const before = await readState(step);
	const report = await step.evaluate({ inputs: batches[0]! }, settings);
	const x = Float64Array.from(batches[0]!);
	const conditions = { progress: 0, update: 1 };
	const pass = forward(spec, start, { x }, conditions, select(spec, start, { x }, conditions));
	expect(report.squaredError / pass.terms[0]!.squared).toBeCloseTo(1, 5);
	expect(report).toMatchObject({ l0: 4, fvu: null, stopped: false });
	expect(await readState(step)).toEqual(before);
	step.close();
});

test("an FVU is reported for steps that were measured, and for no others", async () => {
	const step = await begin();
	step.run({ inputs: batches[0]! }, settings, true);
	const measured = await step.report();
	expect(
		measured.fvu! / (measured.squaredError / spreadOf(Float64Array.from(batches[0]!), SHAPE.d_in)),
	).toBeCloseTo(1, 5);
	step.run({ inputs: batches[1]! }, settings, false);
	expect((await step.report()).fvu).toBeNull();
	step.close();
});

describe("descriptions that can't be run are refused", () => {
	const [first, multi, aux] = spec.loss as [TrainingSpec["loss"][0], ...TrainingSpec["loss"]];
	test.each([
		["nine terms", [first, ...Array.from({ length: 8 }, () => multi!)], "8 loss terms, not 9"],
		[
			"k over the limit",
			[first, { ...aux!, select: { kind: "topk", k: 513 } }],
			"the largest supported, 512",
		],
		["k over d_sae", [{ ...first, select: { kind: "topk", k: 131 } }], "larger than d_sae 130"],
		["nothing that reconstructs", [{ ...first, target: "residual" }], "must reconstruct the data"],
		["a first term of dead latents", [{ ...first, latents: "dead" }], "must reconstruct the data"],
		["a variance of the input", [{ ...first, reduction: "variance" }], "reduction variance is for"],
		["a residual with a bias", [first, { ...aux!, bias: true }], "a residual has no bias"],
	] as [string, TrainingSpec["loss"], string][])("%s", async (_, loss, message) => {
		await expect(TrainStep.create(gpu, { ...spec, loss }, SHAPE)).rejects.toThrow(message);
	});
});
