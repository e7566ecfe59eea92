/** The items of `source` until `signal` is aborted; an item that is still awaited then is not waited for. */
export async function* until<T>(source: AsyncGenerator<T>, signal: AbortSignal): AsyncGenerator<T> {
	try {
		for (;;) {
			const next = await unlessAborted(source.next(), signal);
			if (!next || next.done) return;
			yield next.value;
		}
	} finally {
		// This too comes to its end only after the item that is awaited.
		source.return(undefined).catch(() => {});
	}
}

/** What `pending` resolves to, or nothing once `signal` is aborted. Leaves nothing behind on the signal. */
function unlessAborted<T>(pending: Promise<T>, signal: AbortSignal): Promise<T | undefined> {
	return new Promise((resolve, reject) => {
		const stop = () => resolve(undefined);
		signal.addEventListener("abort", stop);
		pending.then(resolve, reject).finally(() => signal.removeEventListener("abort", stop));
		if (signal.aborted) stop();
	});
}
