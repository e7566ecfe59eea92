/** Where the time of a step goes: each kernel's time beside what it moves and computes, and what the device could do. */
import type { Gpu } from "../core/gpu/device.ts";
import type { TrainStep } from "../core/train/step.ts";
import type { Ceilings } from "./ceilings.ts";
import type { Select, Size } from "./common.ts";
import { type Count, countsOf } from "./counts.ts";

const RUNS = 5;

export function printCeilings({ bytes, operations }: Ceilings): void {
	const rates = Object.entries(operations).map(([unit, rate]) => `${unit} ${giga(rate / 1e3)} TFLOP/s`);
	console.log(`measured ceilings: copy ${giga(bytes)} GB/s (read and written), ${rates.join(", ")}`);
}

/**
 * A table of kernels. The last column is the least time that the busier of memory and arithmetic needs at its ceiling, as a
 * share of the time that was taken; more than 100 % where caches held what a copy would have to fetch.
 */
export async function printKernels(
	gpu: Gpu,
	step: TrainStep,
	select: Select,
	size: Size,
	ceilings: Ceilings,
): Promise<void> {
	const times = await timesOf(step);
	const countOf = select === "topk" ? countsOf(size, gpu.halfProduct !== undefined) : () => undefined;
	console.log(
		"| kernel | ms | MB | GFLOP | GB/s | TFLOP/s | of the ceiling |\n|---|---|---|---|---|---|---|",
	);
	for (const [label, ms] of times) {
		const count = countOf(label);
		const cells = count ? cellsOf(count, ms, ceilings) : ["", "", "", "", ""];
		console.log(`| ${[label, ms.toFixed(3), ...cells].join(" | ")} |`);
	}
	const total = [...times.values()].reduce((sum, ms) => sum + ms, 0);
	console.log(`| sum | ${total.toFixed(3)} | | | | | |`);
}

function cellsOf({ bytes, operations, unit }: Count, ms: number, ceilings: Ceilings): string[] {
	const rate = ceilings.operations[unit];
	const moving = bytes / ceilings.bytes;
	const computing = rate ? operations / rate : 0;
	const share = (100_000 * Math.max(moving, computing)) / ms;
	return [
		(bytes / 1e6).toFixed(2),
		operations > 0 ? (operations / 1e9).toFixed(3) : "",
		giga((bytes / ms) * 1e3),
		operations > 0 ? giga(operations / ms) : "",
		`${share.toFixed(0)} % (${moving > computing ? "memory" : unit})`,
	];
}

/** Milliseconds by label, the mean of several runs. */
async function timesOf(step: TrainStep): Promise<Map<string, number>> {
	await step.profile();
	const times = new Map<string, number>();
	for (let run = 0; run < RUNS; run++) {
		for (const { label, nanoseconds } of await step.profile()) {
			times.set(label, (times.get(label) ?? 0) + nanoseconds / RUNS / 1e6);
		}
	}
	return times;
}

function giga(rate: number): string {
	return (rate / 1e9).toPrecision(3);
}
