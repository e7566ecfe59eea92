/** Messages for people, on stderr: stdout belongs to the data. */
// The basic one: the other decorates even files and pipes, unless it believes itself in CI.
import { createConsola, LogLevels } from "consola/basic";
import type { Logger } from "../core/plugin.ts";

export function createLogger(debug: boolean): Logger {
	const consola = createConsola({
		// consola sends info to stdout unless told otherwise.
		stdout: process.stderr,
		stderr: process.stderr,
		level: debug ? LogLevels.debug : LogLevels.info,
		formatOptions: { date: false },
	});
	return {
		progress: progressTo(process.stderr),
		info: (message) => consola.info(message),
		warn: (message) => consola.warn(message),
		debug: (message) => consola.debug(message),
	};
}

/** Milliseconds between progress lines where they can't replace each other. */
const PROGRESS_PAUSE = 10_000;

function progressTo(stream: NodeJS.WriteStream): (message: string) => void {
	let last = Number.NEGATIVE_INFINITY;
	return (message) => {
		if (stream.isTTY) {
			stream.write(`\r\x1b[2K${message.slice(0, stream.columns - 1)}`);
			return;
		}
		const now = performance.now();
		if (now - last < PROGRESS_PAUSE) return;
		last = now;
		stream.write(`${message}\n`);
	};
}
