/** Values of numbers that change over a run. */
import type { Schedule } from "./architecture.ts";

/** Value of a schedule when `progress` (0 to 1) of the run is done. */
export function scheduled(schedule: Schedule, progress: number): number {
	if (typeof schedule === "number") return schedule;
	const { from, to, begin = 0, until, stages } = schedule;
	const part =
		until > begin
			? Math.min(1, Math.max(0, (progress - begin) / (until - begin)))
			: progress >= until
				? 1
				: 0;
	return from + (to - from) * (stages === undefined ? part : Math.floor(part * stages) / stages);
}

/** The largest value that a schedule takes. */
export function largest(schedule: Schedule): number {
	return typeof schedule === "number" ? schedule : Math.max(schedule.from, schedule.to);
}
