/** Keeps garbage small beside statistics that are large. */

/** Bytes. */
const MOST = 2 ** 28;

/**
 * A function to call again and again, which collects garbage where the process has grown by 256 MiB since it last did, or
 * since then was smallest. By itself the runtime waits for about as much garbage as there is memory in use, if the machine
 * has it: of statistics of 2 GB that would make 4.
 */
export function garbageLimit(): () => void {
	let least = process.memoryUsage.rss();
	return () => {
		const now = process.memoryUsage.rss();
		least = Math.min(least, now);
		if (now - least < MOST) return;
		Bun.gc(true);
		least = process.memoryUsage.rss();
	};
}
