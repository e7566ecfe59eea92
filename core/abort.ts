/** Waiting that an interruption ends. */

/**
 * What `promise` comes to, or a failure with the signal's reason if that is first. A race with one promise for the signal
 * would do the same, but everything that ever won such a race is held in memory for as long as that promise is.
 */
export function unlessAborted<T>(promise: Promise<T>, signal: AbortSignal): Promise<T> {
	return new Promise((resolve, reject) => {
		const abort = () => reject(signal.reason);
		const done = () => signal.removeEventListener("abort", abort);
		if (signal.aborted) abort();
		signal.addEventListener("abort", abort);
		promise.then(resolve, reject).finally(done);
	});
}
