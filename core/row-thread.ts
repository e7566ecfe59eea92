/** A thread of {@link ThreadedBlocks}: answers each message, which brings memory, with a block in its final order. */
import { parentPort, workerData } from "node:worker_threads";
import { BlockingFileReader, PipeReader, readBlocking } from "./arrow/bytes.ts";
import { readArrowParts } from "./arrow/reader.ts";
import { isSaeError } from "./errors.ts";
import { gatherRows } from "./gather.ts";
import { allocate, type Block, LocalBlocks, lanesOf, type Values, view } from "./row-blocks.ts";
import type { ThreadAnswer, ThreadJob } from "./row-threads.ts";

const job = workerData as ThreadJob;
const lanes = lanesOf(job).all;
let blocks: LocalBlocks | undefined;
let turn: Promise<void> = Promise.resolve();

parentPort!.on("message", (spent: readonly ArrayBuffer[]) => {
	turn = turn.then(async () => {
		const answer = await nextBlock(spent).catch(failure);
		const buffers = "failure" in answer ? [] : answer.data.map(({ buffer }) => buffer as ArrayBuffer);
		parentPort!.postMessage(answer, buffers);
	});
});

async function nextBlock(spent: readonly ArrayBuffer[]): Promise<ThreadAnswer> {
	blocks ??= await open();
	const isPipe = "descriptor" in job.input;
	const block = await blocks.next(isPipe ? spent : undefined);
	blocks.skip(job.threads - 1);
	const shapes = lanes.map(({ type, width, widths }) => ({ type, width, widths }));
	// Whoever reads a pipe keeps the producer waiting for as long as it does anything else.
	if (isPipe) return { ...block, order: block.order, lanes: shapes };
	return { rows: block.rows, order: undefined, data: inOrder(block, spent), lanes: shapes };
}

function inOrder({ rows, data, order }: Block, spent: readonly ArrayBuffer[]): Values[] {
	return data.map((values, i) => {
		const { type, width } = lanes[i]!;
		const whole = spent[i] ? view(type, spent[i]) : allocate(type, job.layout.rows * width);
		const target = whole.subarray(0, rows * width);
		if (order) gatherRows(target, 0, values, width, order);
		else target.set(values);
		return target;
	});
}

/** The input, from this thread's first block on. */
async function open(): Promise<LocalBlocks> {
	const { input } = job;
	const bytes =
		"descriptor" in input
			? new PipeReader("stdin", input.descriptor, readBlocking, input.head)
			: new BlockingFileReader(input.path);
	const { parts } = await readArrowParts(bytes, true);
	const opened = new LocalBlocks(parts, lanes, job.layout, 1);
	opened.skip(job.index);
	return opened;
}

function failure(error: unknown): ThreadAnswer {
	if (isSaeError(error)) return { failure: error.message, exitCode: error.exitCode };
	return { failure: String(error), exitCode: undefined };
}
