/**
 * Times a whole training step, with rows already on the device, and with --kernels each of its kernels, beside what they
 * move and compute (counts.ts) and what the device can do at the most (ceilings.ts).
 *
 *   bun bench/step.ts [--d-in 768] [--d-sae 32768] [--k 32] [--batch 4096,8192] [--select topk|batchtopk] [--steps 30]
 *       [--kernels] [--json]
 *
 * Sizes may be lists: every combination is timed.
 */
import { parseArgs } from "node:util";
import { trainingBytes } from "../core/train/memory.ts";
import { measureCeilings } from "./ceilings.ts";
import { number, openDevice, SIZE_OPTIONS, type Size, selectOf, shapeOf, sizesOf, specOf } from "./common.ts";
import { usedMemory } from "./device-memory.ts";
import { printCeilings, printKernels } from "./kernels.ts";
import { timeStep } from "./timing.ts";

/** What --json prints, a line for each size. */
export interface TimedLine extends Size {
	readonly device: string;
	readonly ms: number;
	readonly rows_per_second: number;
	readonly first_loss: number;
	/** Device memory, as core estimates it; and as the driver counts it, over what was in use before, where it says. */
	readonly estimated_bytes: number;
	readonly measured_bytes?: number;
}

const { values } = parseArgs({
	options: {
		...SIZE_OPTIONS,
		select: { type: "string", default: "topk" },
		steps: { type: "string", default: "30" },
		kernels: { type: "boolean", default: false },
		json: { type: "boolean", default: false },
	},
});
if (import.meta.main) await main();

async function main(): Promise<never> {
	const before = usedMemory();
	const gpu = await openDevice();
	const device = `${gpu.info.provider}: ${gpu.info.description || gpu.info.device}`;
	if (!values.json) console.log(device);
	const ceilings = values.kernels ? await measureCeilings(gpu) : undefined;
	if (ceilings) printCeilings(ceilings);
	for (const size of sizesOf(values)) {
		const select = selectOf(values.select);
		const { step, ms, first_loss } = await timeStep(gpu, select, size, number("steps", values.steps));
		const rows_per_second = (size.batch / ms) * 1000;
		if (values.json) {
			const used = usedMemory();
			const line: TimedLine = {
				...{ ...size, device, ms, rows_per_second, first_loss },
				estimated_bytes: trainingBytes(gpu, specOf(select, size), shapeOf(size)),
				...(used !== undefined && before !== undefined && { measured_bytes: used - before }),
			};
			console.log(JSON.stringify(line));
		} else {
			const { d_in, d_sae, k, batch } = size;
			console.log(
				`d_in ${d_in} d_sae ${d_sae} k ${k} batch ${batch}: ${ms.toFixed(3)} ms/step, ` +
					`${(rows_per_second / 1e6).toFixed(4)} M rows/s, first loss ${first_loss.toPrecision(7)}`,
			);
		}
		if (ceilings) await printKernels(gpu, step, select, size, ceilings);
		step.close();
	}
	gpu.close();
	process.exit(0);
}
