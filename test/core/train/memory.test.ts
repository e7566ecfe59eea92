/** The estimate of a step's memory against what a step takes. */
import { afterAll, beforeAll, expect, test } from "bun:test";
import { openGpu } from "../../../core/gpu/device.ts";
import { initialise } from "../../../core/train/initialise.ts";
import { trainingBytes } from "../../../core/train/memory.ts";
import { TrainStep } from "../../../core/train/step.ts";
import { Gpu } from "../../../kernels/gpu.ts";
import { PLAIN_HALF_PRODUCT } from "../../kernels/half-product.ts";
import { randomStream } from "../../reference/models.ts";
import { SETTINGS, topkCase } from "./agreement.ts";
import { families } from "./specs.ts";

const SIZES = { d_in: 64, d_out: 64, d_sae: 2048 };
const SHAPE = { d_in: 64, d_sae: 2048, rows: 256, format: "float32", clip: false } as const;

/** Bytes of the buffers that are alive. */
let alive = 0;
let gpu: Gpu;
beforeAll(async () => {
	gpu = await openGpu();
	const { device } = gpu;
	const create = device.createBuffer.bind(device);
	device.createBuffer = (descriptor) => {
		const buffer = create(descriptor);
		const destroy = buffer.destroy.bind(buffer);
		alive += descriptor.size;
		buffer.destroy = () => {
			alive -= descriptor.size;
			return destroy();
		};
		return buffer;
	};
});
afterAll(() => gpu.close());

test.each([
	["batch_topk", 256],
	["relu", 256],
	["batch_topk", 100],
] as const)(
	"of %s is near what a step takes, %d rows at a time",
	async (name, microRows) => {
		const { spec } = families(SIZES)[name]!;
		const shape = { ...SHAPE, microRows };
		const random = randomStream(5);
		const rows = Float32Array.from({ length: SHAPE.rows * SHAPE.d_in }, () => random() - 0.5);
		const before = alive;
		const step = await TrainStep.create(gpu, spec, shape);
		step.restore(initialise(spec, SIZES, { inputs: rows, targets: rows }, 0), 1e6);
		step.run({ inputs: rows }, SETTINGS, true);
		await step.report();
		const taken = alive - before;
		const estimate = trainingBytes(gpu, spec, shape);
		step.close();
		expect(estimate / taken).toBeGreaterThan(0.9);
		expect(estimate / taken).toBeLessThan(1.3);
	},
	60_000,
);

test("of a step with halved operands too", async () => {
	const { spec } = topkCase({ ...SIZES, rows: SHAPE.rows, k: 8, auxk: 32 });
	const halving = new Gpu({
		device: gpu.device,
		info: gpu.info,
		keepAlive: [],
		halfProduct: PLAIN_HALF_PRODUCT,
	});
	const before = alive;
	const step = await TrainStep.create(halving, spec, SHAPE);
	const taken = alive - before;
	step.close();
	const estimate = trainingBytes(halving, spec, SHAPE);
	expect(estimate / taken).toBeGreaterThan(0.9);
	expect(estimate / taken).toBeLessThan(1.3);
	expect(estimate).toBeGreaterThan(trainingBytes(gpu, spec, SHAPE) + SIZES.d_sae * SIZES.d_in * 6);
});

test("grows with all sizes", () => {
	const { spec } = families(SIZES).relu!;
	const base = trainingBytes(gpu, spec, SHAPE);
	expect(trainingBytes(gpu, spec, { ...SHAPE, d_sae: 4096 })).toBeGreaterThan(1.7 * base);
	expect(trainingBytes(gpu, spec, { ...SHAPE, rows: 512 })).toBeGreaterThan(1.5 * base);
	expect(trainingBytes(gpu, spec, { ...SHAPE, averaged: true }) - base).toBeGreaterThan(2 * 64 * 2048 * 4);
	expect(trainingBytes(gpu, families(SIZES).topk!.spec, SHAPE)).toBeLessThan(base / 2);
});

test("is bounded by the rows at a time, but for a few figures for each row and the gradients", () => {
	for (const name of ["batch_topk", "relu", "feature_topk"]) {
		const { spec } = families(SIZES)[name]!;
		const few = trainingBytes(gpu, spec, { ...SHAPE, microRows: 128 });
		const more = trainingBytes(gpu, spec, { ...SHAPE, microRows: 128, rows: 4096 });
		expect(more - few).toBeLessThan(4096 * 64);
		expect(more).toBeLessThan(trainingBytes(gpu, spec, { ...SHAPE, rows: 4096 }) / 4);
	}
	const { spec } = families(SIZES).topk!;
	const gradients = 2 * 64 * 2048 * 4;
	const once = trainingBytes(gpu, spec, { ...SHAPE, rows: 128 });
	expect(trainingBytes(gpu, spec, { ...SHAPE, rows: 129, microRows: 128 }) - once).toBeGreaterThan(gradients);
});

test("refuses what can't be trained", () => {
	const { spec } = families(SIZES).topk!;
	expect(() => trainingBytes(gpu, spec, { ...SHAPE, d_sae: 3 })).toThrow("is larger than d_sae 3");
});
