/** Where the time of a program goes, by the device's own clock. */
import { type Gpu, GpuError } from "./gpu.ts";
import type { Dispatch } from "./program.ts";

export interface Timing {
	readonly label: string;
	/** Nanoseconds, as the device counts them; some devices round to 65,536. */
	readonly nanoseconds: number;
}

const QUERY = { RESOLVE: 0x200, COPY_SRC: 0x04 };

/** Runs the dispatches once, each in a pass of its own between two timestamps. */
export async function profile(gpu: Gpu, dispatches: readonly Dispatch[]): Promise<Timing[]> {
	if (!gpu.device.features.has("timestamp-query"))
		throw new GpuError("this device can't measure time (timestamp-query)");
	const count = 2 * dispatches.length;
	const querySet = gpu.device.createQuerySet({ type: "timestamp", count });
	const resolved = gpu.device.createBuffer({ size: count * 8, usage: QUERY.RESOLVE | QUERY.COPY_SRC });
	const encoder = gpu.device.createCommandEncoder();
	for (const [i, { pipeline, bindGroup, groups }] of dispatches.entries()) {
		const pass = encoder.beginComputePass({
			timestampWrites: { querySet, beginningOfPassWriteIndex: 2 * i, endOfPassWriteIndex: 2 * i + 1 },
		});
		pass.setPipeline(pipeline);
		pass.setBindGroup(0, bindGroup);
		pass.dispatchWorkgroups(...groups);
		pass.end();
	}
	encoder.resolveQuerySet(querySet, 0, count, resolved, 0);
	gpu.device.queue.submit([encoder.finish()]);
	const stamps = new BigUint64Array(await gpu.read(resolved, 0, count * 8));
	querySet.destroy();
	resolved.destroy();
	return dispatches.map(({ label }, i) => ({
		label,
		nanoseconds: Number(stamps[2 * i + 1]! - stamps[2 * i]!),
	}));
}
