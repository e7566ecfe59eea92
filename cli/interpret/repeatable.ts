/** A stream that can be read several times: a file, or a pipe that is copied to one. */
import { mkdtemp, rm, stat } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { writeArrowFile } from "../../core/arrow/writer.ts";
import type { RecordStream, StreamKind } from "../../core/stream.ts";
import { openInput } from "../input.ts";

export interface Repeatable {
	/** The stream from its beginning. */
	open(): Promise<RecordStream>;
	/** Removes the copy. */
	close(): Promise<void>;
}

export async function openRepeatable(
	path: string,
	kinds: readonly StreamKind[],
	signal: AbortSignal,
): Promise<Repeatable> {
	if (path !== "-" && (await isFile(path)))
		return { open: () => openInput(path, kinds), close: async () => {} };
	const stream = await openInput(path, kinds);
	const folder = await mkdtemp(join(tmpdir(), "saeflow-"));
	const close = () => rm(folder, { recursive: true, force: true });
	try {
		const copy = join(folder, "stream.arrow");
		await writeArrowFile({ ...stream, batches: until(signal, stream) }, copy);
		return { open: () => openInput(copy, kinds), close };
	} catch (error) {
		await close();
		throw error;
	}
}

/** Whether it is no named pipe; what is not there is left to the one who opens it. */
async function isFile(path: string): Promise<boolean> {
	return stat(path).then(
		(found) => found.isFile(),
		() => true,
	);
}

async function* until(signal: AbortSignal, { batches }: RecordStream): RecordStream["batches"] {
	for await (const batch of batches) {
		signal.throwIfAborted();
		yield batch;
	}
}
