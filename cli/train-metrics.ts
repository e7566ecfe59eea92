/** Where the metrics of a training run go: stdout or a file as a stream, and further sinks. */
import { tableBatch, tableSchema } from "../core/arrow/metrics.ts";
import type { Context } from "../core/plugin.ts";
import type { MetricSink } from "../core/sinks/sink.ts";
import { META } from "../core/stream.ts";
import type { TrainMetrics } from "../core/train/job.ts";
import { type OutputOptions, type OutputWriter, withOutput } from "./output.ts";
import { isReaderGone } from "./stdout.ts";

const COLUMNS = {
	sae: "string",
	step: "number",
	tokens: "number",
	loss: "number",
	fvu: "number",
	l0: "number",
	dead: "number",
	eval_fvu: "number",
	eval_l0: "number",
	lr: "number",
	rate: "number",
	seconds: "number",
} as const satisfies Record<keyof TrainMetrics, "string" | "number">;

/**
 * Runs `train` with a function that reports a row. A reader that goes away is mentioned once, and training goes on:
 * its result is the SAE, not the metrics.
 */
export async function withMetrics(
	options: OutputOptions,
	sinks: readonly MetricSink[],
	context: Context,
	train: (report: (row: TrainMetrics) => Promise<void>) => Promise<void>,
): Promise<void> {
	const schema = tableSchema(COLUMNS, "metrics", { [META.command]: context.command });
	let gone = false;
	const toSinks = async (row: TrainMetrics) => {
		for (const sink of sinks) await sink.write(row);
	};
	const produce = (writer: OutputWriter | undefined) =>
		train(async (row) => {
			if (writer && !gone) {
				try {
					await writer.write(tableBatch(schema, [{ ...row }]));
				} catch (error) {
					if (!isReaderGone(error)) throw error;
					gone = true;
					context.log.warn("nobody reads the metrics any more; training goes on");
				}
			}
			await toSinks(row);
		});
	try {
		// A person at a terminal has the progress line; rows would only get in its way.
		if (process.stdout.isTTY && options.out === undefined && options.format === undefined)
			await produce(undefined);
		else {
			await withOutput(schema, options, produce).catch((error) => {
				if (!gone || !isReaderGone(error)) throw error;
			});
		}
	} finally {
		for (const sink of sinks) await sink.close();
	}
}
