/** Standard output as a sink with backpressure. */
import { closeSync, constants, open, openSync, write } from "node:fs";
import { promisify } from "node:util";
import { isPipe } from "./bytes.ts";
import type { ByteSink } from "./writer.ts";

const openDescriptor = promisify(open);
const writeDescriptor = promisify(write);

/**
 * Each write resolves when the bytes have been handed to the system, so their buffers may then be reused. Once the
 * reader is gone (`| head`) writes reject with the system's EPIPE: not a failure, but nobody wants the rest.
 */
export function stdoutSink(): ByteSink {
	const stream = streamSink();
	return {
		async write(bytes) {
			blockingPipe ??= openBlockingPipe();
			const pipe = await blockingPipe;
			for (let at = 0; at < bytes.length; ) {
				if (pipe === undefined) return stream.write(bytes.subarray(at));
				at += (await writeDescriptor(pipe, bytes, at, bytes.length - at)).bytesWritten;
			}
		},
	};
}

let blockingPipe: Promise<number | undefined> | undefined;

/** A pipe opens at once, unless its reader leaves at this very moment. */
const OPENING_MS = 1000;

/**
 * Where stdout is a pipe, one more descriptor of it, which blocks: a thread of the runtime writes whole batches to it
 * twice as fast as pieces go out whenever there is room, and meanwhile the next batch is made. Linux alone opens a
 * pipe anew; elsewhere its descriptors share the mode that the runtime has given stdout.
 */
async function openBlockingPipe(): Promise<number | undefined> {
	if (process.platform !== "linux" || !isPipe(1)) return undefined;
	try {
		// To open a pipe without a reader waits for one. This way it fails.
		closeSync(openSync("/proc/self/fd/1", constants.O_WRONLY | constants.O_NONBLOCK));
	} catch {
		return undefined;
	}
	const late = Bun.sleep(OPENING_MS).then(() => undefined);
	return Promise.race([openDescriptor("/proc/self/fd/1", constants.O_WRONLY), late]);
}

function streamSink(): ByteSink {
	const { stdout } = process;
	let failure: Error | undefined;
	let fail: ((error: Error) => void) | undefined;
	// Without a listener Bun reports EPIPE as an uncaught error, and the callback of a waiting write may never come.
	stdout.on("error", (error) => {
		failure = error;
		fail?.(error);
	});
	return {
		write(bytes) {
			return new Promise((resolve, reject) => {
				if (failure) return reject(failure);
				fail = reject;
				stdout.write(bytes, () => (failure ? reject(failure) : resolve()));
			});
		},
	};
}
