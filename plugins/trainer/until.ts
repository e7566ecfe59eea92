/** The items of `source` until `signal` is aborted; an item that is still awaited then is not waited for. */
export async function* until<T>(source: AsyncGenerator<T>, signal: AbortSignal): AsyncGenerator<T> {
	const aborted = new Promise<undefined>((resolve) => {
		if (signal.aborted) resolve(undefined);
		else signal.addEventListener("abort", () => resolve(undefined), { once: true });
	});
	try {
		for (;;) {
			const next = await Promise.race([source.next(), aborted]);
			if (!next || next.done) return;
			yield next.value;
		}
	} finally {
		// This too comes to its end only after the item that is awaited.
		source.return(undefined).catch(() => {});
	}
}
