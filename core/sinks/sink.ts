import type { TrainMetrics } from "../train/job.ts";

/** A place that training metrics go to besides stdout. */
export interface MetricSink {
	/** Resolves when the row has been handed to the operating system. */
	write(row: TrainMetrics): Promise<void>;
	close(): Promise<void>;
}
