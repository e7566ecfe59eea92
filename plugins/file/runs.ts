/**
 * The rows of several files in runs of neighbours, the runs in random order. Rows of all files come close to each
 * other so, while every read is of some length; a shuffle of the rows within a buffer does the rest.
 */
import type { RecordBatch } from "apache-arrow";
import type { Core, CounterRng } from "saeflow";
import type { RandomRows, Segment } from "./segments.ts";

/** Rows `from` to `to` (exclusive) of a file. */
interface Run {
	readonly segment: Segment;
	readonly from: number;
	readonly to: number;
}

/** Files that are open at a time. */
const MAX_OPEN = 256;

/** Runs that are read before they are asked for. */
const AHEAD = 4;

/** Rows `begin` to `end` (exclusive) of the files taken as one, in the order that `rng` gives, from the `start`-th on. */
export async function* inRuns(
	core: Core,
	segments: readonly Segment[],
	{ begin, end, runRows }: { readonly begin: number; readonly end: number; readonly runRows: number },
	rng: CounterRng,
	start: number,
): AsyncGenerator<RecordBatch> {
	const runs = runsOf(segments, begin, end, runRows);
	const files = new OpenFiles();
	const reading: Promise<RecordBatch[]>[] = [];
	try {
		let skip = start;
		for (const index of core.permutation(rng, runs.length)) {
			const run = runs[index]!;
			const rows = run.to - run.from;
			if (skip < rows) {
				const batches = read(core, files, { ...run, from: run.from + skip });
				// A failure is told when its turn comes.
				batches.catch(() => {});
				reading.push(batches);
			}
			skip = Math.max(0, skip - rows);
			if (reading.length > AHEAD) yield* await reading.shift()!;
		}
		for (const batches of reading) yield* await batches;
	} finally {
		await Promise.allSettled(reading);
		await files.close();
	}
}

/** Each file is cut from its own beginning, as its batches are. */
function runsOf(segments: readonly Segment[], begin: number, end: number, runRows: number): Run[] {
	const runs: Run[] = [];
	let first = 0;
	for (const segment of segments) {
		const low = Math.max(0, begin - first);
		const high = Math.min(segment.rows, end - first);
		for (let from = low; from < high; ) {
			const to = Math.min(high, from - (from % runRows) + runRows);
			runs.push({ segment, from, to });
			from = to;
		}
		first += segment.rows;
	}
	return runs;
}

async function read(core: Core, files: OpenFiles, { segment, from, to }: Run): Promise<RecordBatch[]> {
	if (segment.openRows) return files.use(segment, (file) => file.readRows(from, to));
	const batches: RecordBatch[] = [];
	let row = from;
	for await (const batch of segment.batches(from)) {
		batches.push(core.sliceBatch(batch, 0, Math.min(batch.numRows, to - row)));
		row += batch.numRows;
		if (row >= to) break;
	}
	return batches;
}

/** Files that stay open, since runs come from all of them in turn; the one that was used longest ago gives way. */
class OpenFiles {
	readonly #open = new Map<Segment, { readonly file: Promise<RandomRows>; users: number }>();

	async use<T>(segment: Segment, action: (file: RandomRows) => Promise<T>): Promise<T> {
		const entry = this.#open.get(segment) ?? { file: segment.openRows!(), users: 0 };
		// The last in a map is the one that was put in last.
		this.#open.delete(segment);
		this.#open.set(segment, entry);
		entry.users++;
		try {
			return await action(await entry.file);
		} finally {
			entry.users--;
			await this.#makeRoom();
		}
	}

	async #makeRoom(): Promise<void> {
		for (const [segment, { file, users }] of this.#open) {
			if (this.#open.size <= MAX_OPEN) return;
			if (users > 0) continue;
			this.#open.delete(segment);
			await close(file);
		}
	}

	async close(): Promise<void> {
		await Promise.all([...this.#open.values()].map(({ file }) => close(file)));
		this.#open.clear();
	}
}

/** A file that could not be opened has been told of. */
async function close(file: Promise<RandomRows>): Promise<void> {
	await file.then(
		(opened) => opened.close(),
		() => {},
	);
}
