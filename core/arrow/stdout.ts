/** Standard output as a sink with backpressure. */
import type { ByteSink } from "./writer.ts";

/**
 * Each write resolves when the bytes have been handed to the system, so their buffers may then be reused. Once the
 * reader is gone (`| head`) writes reject with the system's EPIPE: not a failure, but nobody wants the rest.
 */
export function stdoutSink(): ByteSink {
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
