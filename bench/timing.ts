/** How long a whole step takes, with rows already on the device. */
import type { Gpu } from "../core/gpu/device.ts";
import { TrainStep } from "../core/train/step.ts";
import {
	hashedRows,
	hashedWeights,
	NEVER,
	SEED,
	type Select,
	type Size,
	shapeOf,
	specOf,
	stepSettings,
} from "./common.ts";

/** Steps after which a device that idled is up to speed. */
const WARM_UP = 20;

export interface StepTime {
	readonly ms: number;
	/** Of the first step, on the weights as they began. */
	readonly first_loss: number;
}

/** The step is left open, to be looked at further. */
export async function timeStep(
	gpu: Gpu,
	select: Select,
	size: Size,
	steps: number,
): Promise<StepTime & { readonly step: TrainStep }> {
	const step = await TrainStep.create(gpu, specOf(select, size), shapeOf(size));
	step.restore(hashedWeights(size), NEVER);
	// Weights stay as they are: a step that has seen one batch a thousand times is like no other.
	const settings = { ...stepSettings(size, 1), lr: 0 };
	step.run({ inputs: hashedRows(size.batch, size.d_in, SEED.rows) }, settings, false);
	const { loss: first_loss } = await step.report();
	for (let i = 0; i < WARM_UP; i++) step.repeat();
	await step.report();
	const start = performance.now();
	for (let i = 0; i < steps; i++) step.repeat();
	const { stopped } = await step.report();
	const ms = (performance.now() - start) / steps;
	if (stopped) throw new Error("the loss is not finite any more");
	return { ms, first_loss, step };
}
