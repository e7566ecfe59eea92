/** Text on stdout, through the same sink as data. */
import { stdoutSink } from "../core/arrow/stdout.ts";

/** True for the error of writing to a pipe that nobody reads any more. */
export function isReaderGone(error: unknown): boolean {
	return error instanceof Error && "code" in error && error.code === "EPIPE";
}

/** Prints text; a reader that has gone away is no error. */
export async function printText(text: string): Promise<void> {
	try {
		await stdoutSink().write(new TextEncoder().encode(text));
	} catch (error) {
		if (!isReaderGone(error)) throw error;
	}
}
