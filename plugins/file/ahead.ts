/** The items of `source`, the next of which is made while one is in use. */
export async function* ahead<T>(source: AsyncGenerator<T>): AsyncGenerator<T> {
	let next = source.next();
	try {
		for (;;) {
			const { done, value } = await next;
			if (done) return;
			next = source.next();
			// Reported when it is its turn.
			next.catch(() => {});
			yield value;
		}
	} finally {
		await source.return(undefined);
	}
}
