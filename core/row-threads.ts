/**
 * Blocks of a file that are read, checked and put in order by threads, each of them every so many blocks, or of a pipe,
 * read and checked by one. What comes is the same as without threads, bit by bit.
 */
import { Worker } from "node:worker_threads";
import { type ExitCode, SaeError } from "./errors.ts";
import type { Block, BlockLayout, Blocks, Lane, LaneColumns, Values } from "./row-blocks.ts";
import type { RecordStream, StreamInput } from "./stream.ts";

/** What a thread is started with. */
export interface ThreadJob extends LaneColumns {
	readonly input: StreamInput;
	readonly layout: BlockLayout;
	/** Of all the threads, and which one of them it is. */
	readonly threads: number;
	readonly index: number;
}

/** What a thread answers when it is asked for its next block. */
export type ThreadAnswer =
	| {
			/** By lane. */
			readonly data: readonly Values[];
			readonly lanes: readonly Pick<Lane, "type" | "width" | "widths">[];
			readonly rows: number;
			readonly order: Uint32Array | undefined;
	  }
	| { readonly failure: string; readonly exitCode: ExitCode | undefined };

/** A smaller file is read in the time, a fifth of a second each, that threads take to start. */
const SMALL_FILE = 2 ** 28;
/** Processors for each thread: the training loop and the device's driver want some too. */
const PROCESSORS_PER_THREAD = 4;
const MOST_THREADS = 3;

/** The thread's program; a binary keeps programs by their paths from the package's root. */
const PROGRAM = new URL(
	/\/(\$bunfs|~BUN)\/root\//.test(import.meta.url) ? "./core/row-thread.ts" : "./row-thread.ts",
	import.meta.url,
);

/** Threads that can read a stream: one goes through a pipe. */
export function mostThreads({ input }: RecordStream): number {
	if (!input) return 0;
	return "descriptor" in input ? 1 : Number.POSITIVE_INFINITY;
}

/** Threads that pay for a stream. */
export function usefulThreads({ input }: RecordStream): number {
	if (!input || ("size" in input && input.size < SMALL_FILE)) return 0;
	return Math.min(MOST_THREADS, Math.floor(navigator.hardwareConcurrency / PROCESSORS_PER_THREAD));
}

export class ThreadedBlocks implements Blocks {
	readonly #lanes: readonly Lane[];
	readonly #threads: readonly BlockThread[];
	/** Blocks that are still in use, oldest first. */
	readonly #held: (readonly Values[])[] = [];
	readonly #local: () => Blocks;
	#instead: Blocks | undefined;
	#block = 0;

	/**
	 * @param lanes get the types and widths of what comes.
	 * @param local the same blocks, for programs that were bundled without the thread's.
	 */
	constructor(job: Omit<ThreadJob, "index">, lanes: readonly Lane[], local: () => Blocks) {
		this.#lanes = lanes;
		this.#local = local;
		this.#threads = Array.from({ length: job.threads }, (_, index) => new BlockThread({ ...job, index }));
	}

	async next(): Promise<Block> {
		if (this.#instead) return this.#instead.next();
		const thread = this.#threads[this.#block++ % this.#threads.length]!;
		const spent = this.#held.length === 2 ? this.#held.shift()! : [];
		const answer = await thread.take(spent).catch((error: unknown) => {
			if (this.#block > 1) throw error;
			this.#instead = this.#local();
		});
		if (!answer) return this.next();
		if ("failure" in answer) throw failureOf(answer);
		if (answer.rows > 0) for (const [i, lane] of this.#lanes.entries()) Object.assign(lane, answer.lanes[i]);
		this.#held.push(answer.data);
		return answer;
	}

	close(): void {
		for (const thread of this.#threads) thread.close();
		this.#instead?.close();
	}
}

/** A thread that always works on one block ahead. It keeps the process alive only while a block is waited for. */
class BlockThread {
	readonly #worker: Worker;
	#answer: PromiseWithResolvers<ThreadAnswer>;

	constructor(job: ThreadJob) {
		this.#worker = new Worker(PROGRAM, { workerData: job });
		this.#worker.unref();
		this.#worker.on("message", (answer: ThreadAnswer) => this.#answer.resolve(answer));
		this.#worker.on("error", (error) => this.#answer.reject(error));
		this.#answer = this.#ask([]);
	}

	/** The block it works on; `spent` is memory for the one after it. */
	async take(spent: readonly Values[]): Promise<ThreadAnswer> {
		this.#worker.ref();
		const answer = await this.#answer.promise;
		this.#worker.unref();
		if (!("failure" in answer)) this.#answer = this.#ask(spent);
		return answer;
	}

	close(): void {
		void this.#worker.terminate();
	}

	#ask(spent: readonly Values[]): PromiseWithResolvers<ThreadAnswer> {
		const answer = Promise.withResolvers<ThreadAnswer>();
		answer.promise.catch(() => {});
		const buffers = spent.map(({ buffer }) => buffer as ArrayBuffer);
		this.#worker.postMessage(buffers, buffers);
		return answer;
	}
}

function failureOf({ failure, exitCode }: { failure: string; exitCode: ExitCode | undefined }): Error {
	return exitCode === undefined ? new Error(failure) : new SaeError(failure, exitCode);
}
