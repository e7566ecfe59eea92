/** Work on a stream's items of which more than one is under way: while one waits for the device, the next is read. */

/** Items under way: one that the device computes, and one that has been read and waits behind it. */
const UNDER_WAY = 2;

const END = Symbol("end");

/**
 * What `work` makes of each item, in order. It is called for one item after the other, without waiting for what the last
 * call promised. The next item is asked for once `work` has called `taken`, for it no longer looks at the one it has, or
 * is done; what comes of an item is passed on at once, however long the next one takes. A failure shows in its turn.
 */
export async function* overlapped<T, R>(
	items: AsyncIterable<T>,
	work: (item: T, taken: () => void) => Promise<R>,
): AsyncGenerator<R> {
	const iterator = items[Symbol.asyncIterator]();
	const pending: Promise<R | typeof END>[] = [];
	let free: Promise<unknown> = Promise.resolve();
	let isLeft = false;
	const begin = () => {
		const { promise: isTaken, resolve: taken } = Promise.withResolvers<void>();
		const result = free
			.then(() => iterator.next())
			.then(async ({ done, value }) => (done || isLeft ? END : work(value, taken)));
		free = Promise.race([isTaken, result]);
		// Seen when its turn comes, if it does.
		result.catch(() => {});
		free.catch(() => {});
		pending.push(result);
	};
	for (let i = 0; i < UNDER_WAY; i++) begin();
	try {
		for (;;) {
			const result = await pending.shift()!;
			if (result === END) return;
			begin();
			yield result;
		}
	} finally {
		isLeft = true;
		// Not waited for: an item may be long in coming.
		iterator.return?.().catch(() => {});
	}
}
