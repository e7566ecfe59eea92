/** Writes a stream of activations as a folder of shards, each there whole or not at all. */
import { createHash } from "node:crypto";
import { mkdir, open, readdir, rm, stat } from "node:fs/promises";
import { join } from "node:path";
import type { RecordBatch, Schema } from "apache-arrow";
import { unlessAborted } from "../abort.ts";
import { sliceBatch } from "../arrow/batch.ts";
import { ArrowWriter } from "../arrow/writer.ts";
import { SaeError, usageError } from "../errors.ts";
import { writeAtomically } from "../files/atomic.ts";
import type { Context } from "../plugin.ts";
import { META, type RecordStream } from "../stream.ts";
import { bytesPerRow, conversionOf, type ShardDtype } from "./convert.ts";
import {
	type Head,
	headOf,
	isShardFile,
	isUnfinished,
	type Manifest,
	PROGRESS,
	progressLine,
	readManifest,
	readProgress,
	rowsIn,
	type Shard,
	shardName,
	writeManifest,
} from "./manifest.ts";
import { checkRoom, freeBytes, RUN_ROWS, rowsPerShard, shardCount, sizeText, statedSizes } from "./plan.ts";

export interface ShardOptions {
	/** What vectors are stored as; as they come, unless given. */
	readonly dtype?: ShardDtype | undefined;
	/** Rows of every shard but the last. */
	readonly rowsPerShard?: number | undefined;
	/** Bytes of a shard, about; 256 MB unless given. */
	readonly shardSize?: number | undefined;
	/** Whether to go on where an interrupted command stopped. */
	readonly resume?: boolean | undefined;
}

type Needs = Pick<Context, "log" | "signal" | "command">;

/**
 * Writes `stream` to `folder`, which is made or must be empty; with `resume`, what is already there is kept and rows
 * that it holds are passed over. The number of rows and the bytes that they take are logged before any is written.
 *
 * @throws SaeError when the folder holds something else or another stream's shards, when there is no room, or when a
 * value is beyond float16. Complete shards stay.
 */
export async function writeShards(
	stream: RecordStream,
	folder: string,
	options: ShardOptions,
	context: Needs,
): Promise<Manifest> {
	const begun = await beginFolder(folder, options.resume ?? false);
	const incoming = new Incoming(stream, context.signal);
	const promised = stream.schema.metadata.get(META.rows);
	const total = promised === undefined ? undefined : Number(promised);
	try {
		const first = await incoming.peek();
		const { schema, convert } = conversionOf(stream.schema, first, options.dtype ?? begun?.dtype);
		const rowBytes = bytesPerRow(schema, first && convert(first, incoming.row));
		const wanted = options.rowsPerShard ?? begun?.head.rows_per_shard;
		const head = headOf(schema, {
			rowsPerShard: wanted ?? rowsPerShard(rowBytes, options.shardSize),
			cursor: begun?.head.cursor ?? incoming.row,
			command: context.command,
		});
		if (begun) {
			checkSame(folder, begun.head, head, context);
			if (begun.complete) {
				context.log.info(`${folder}: is complete, with ${begun.rows} rows; there is nothing to do`);
				return (await readManifest(folder))!;
			}
			context.log.info(`${folder}: goes on after ${shardCount(begun.shards.length)} with ${begun.rows} rows`);
			await incoming.skipTo(head.cursor + begun.rows, total);
		}
		const left = () => (total === undefined ? undefined : Math.max(0, total - incoming.row));
		const sizes = { folder, rowBytes, rowsPerShard: head.rows_per_shard };
		context.log.info(statedSizes({ ...sizes, rows: left(), free: await freeBytes(folder) }));
		// The manifest names the command that began, and made most.
		const own = begun?.head ?? head;
		const shards = [...(begun?.shards ?? [])];
		const progress = await Progress.start(folder, own, shards);
		try {
			while (await incoming.peek()) {
				const rows = Math.min(left() ?? Number.POSITIVE_INFINITY, head.rows_per_shard);
				checkRoom({ folder, rowBytes, rows, free: await freeBytes(folder) });
				const shard = await writeShard(folder, shards, head.rows_per_shard, schema, (rows) =>
					incoming.take(rows, convert),
				);
				await progress.add(shard);
				shards.push(shard);
				context.log.progress(`${shardCount(shards.length)}, ${rowsIn(shards)} rows`);
			}
		} catch (error) {
			context.log.info(
				`${folder}: complete so far: ${shardCount(shards.length)}; --resume goes on from there`,
			);
			throw error;
		} finally {
			await progress.close();
		}
		await writeManifest(folder, own, shards);
		await rm(join(folder, PROGRESS));
		const bytes = shards.reduce((sum, shard) => sum + shard.bytes, 0);
		context.log.info(`${folder}: ${shardCount(shards.length)}, ${rowsIn(shards)} rows, ${sizeText(bytes)}`);
		return (await readManifest(folder))!;
	} finally {
		await incoming.close();
	}
}

/** What an earlier command left in the folder. */
interface Begun {
	readonly head: Head;
	readonly dtype: ShardDtype | undefined;
	readonly shards: readonly Shard[];
	readonly rows: number;
	readonly complete: boolean;
}

/** Makes the folder, or looks at what is in it and clears what was left unfinished. */
async function beginFolder(folder: string, resume: boolean): Promise<Begun | undefined> {
	await mkdir(folder, { recursive: true }).catch((error: NodeJS.ErrnoException) => {
		throw new SaeError(`${folder}: the folder can't be made (${error.code})`);
	});
	const names = await readdir(folder);
	const foreign = names.find((name) => !isShardFile(name));
	if (foreign !== undefined) {
		throw usageError(`${folder}: holds ${foreign}, which is no shard; give a folder that is new or empty`);
	}
	const manifest = await readManifest(folder);
	const progress = manifest ?? (await readProgress(folder));
	if (!resume) {
		if (names.length === 0) return undefined;
		throw usageError(
			`${folder}: already holds ${manifest ? "shards" : "shards that were not finished"}; --resume goes on with them, or give another folder`,
		);
	}
	for (const name of names.filter(isUnfinished)) await rm(join(folder, name));
	if (!progress) return undefined;
	const head = "head" in progress ? progress.head : progress;
	const shards = manifest ? manifest.shards : await present(folder, progress.shards);
	const dtypes = new Set(Object.values(head.dtype));
	const dtype = dtypes.size === 1 ? ([...dtypes][0] as ShardDtype) : undefined;
	return { head, dtype, shards, rows: rowsIn(shards), complete: manifest !== undefined };
}

/** The shards up to the first that is not there as it was written. */
async function present(folder: string, shards: readonly Shard[]): Promise<Shard[]> {
	const sizes = await Promise.all(
		shards.map(({ file }) =>
			stat(join(folder, file)).then(
				({ size }) => size,
				() => -1,
			),
		),
	);
	const bad = shards.findIndex(({ bytes }, i) => sizes[i] !== bytes);
	return shards.slice(0, bad < 0 ? shards.length : bad);
}

/** Makes sure that a stream is the one whose shards are there. */
function checkSame(folder: string, begun: Head, given: Head, { log }: Needs): void {
	for (const key of ["columns", "rows_per_shard", "model", "hook_point", "tokenizer", "part"] as const) {
		const [before, now] = [JSON.stringify(begun[key]), JSON.stringify(given[key])];
		if (before === now) continue;
		throw usageError(
			`${folder}: was begun with ${key} ${before}, but now it is ${now}; give the same, or another folder`,
		);
	}
	const withoutStart = (command: string | null) => command?.replace(/ --start[ =]\d+/, "");
	if (withoutStart(begun.source) !== withoutStart(given.source)) {
		log.warn(`${folder}: was begun with rows of another command: ${begun.source}`);
	}
}

/** Writes the next shard from what `take` gives, which is never more rows than it is asked for. */
async function writeShard(
	folder: string,
	before: readonly Shard[],
	rowsPerShard: number,
	schema: Schema,
	take: (rows: number) => Promise<RecordBatch | undefined>,
): Promise<Shard> {
	const file = shardName(before.length);
	const hash = createHash("sha256");
	let rows = 0;
	let bytes = 0;
	await writeAtomically(join(folder, file), async (append) => {
		const write = (piece: Uint8Array) => {
			hash.update(piece);
			bytes += piece.length;
			return append(piece);
		};
		const writer = new ArrowWriter(schema, { write }, "file");
		while (rows < rowsPerShard) {
			const batch = await take(Math.min(rowsPerShard - rows, RUN_ROWS - (rows % RUN_ROWS)));
			if (!batch) break;
			await writer.write(batch);
			rows += batch.numRows;
		}
		await writer.end();
	});
	return { file, rows, first_row: rowsIn(before), bytes, sha256: hash.digest("hex") };
}

/** The file that says which shards are done. */
class Progress {
	readonly #file: Awaited<ReturnType<typeof open>>;

	private constructor(file: Awaited<ReturnType<typeof open>>) {
		this.#file = file;
	}

	static async start(folder: string, head: Head, shards: readonly Shard[]): Promise<Progress> {
		const path = join(folder, PROGRESS);
		await writeAtomically(path, async (append) => {
			for (const entry of [head, ...shards]) await append(progressLine(entry));
		});
		return new Progress(await open(path, "a"));
	}

	async add(shard: Shard): Promise<void> {
		await this.#file.appendFile(progressLine(shard));
		await this.#file.sync();
	}

	close(): Promise<void> {
		return this.#file.close();
	}
}

/** Rows as they come, taken in pieces of any size. */
class Incoming {
	/** Number of the next row. */
	row = 0;
	readonly #batches: AsyncIterator<RecordBatch>;
	readonly #signal: AbortSignal;
	#next: RecordBatch | undefined;

	constructor(stream: RecordStream, signal: AbortSignal) {
		this.#batches = stream.batches[Symbol.asyncIterator]();
		this.#signal = signal;
	}

	/** The rows that come next, of which there is at least one; undefined at the end. */
	async peek(): Promise<RecordBatch | undefined> {
		while (!this.#next) {
			// A producer may stall for long; an interruption doesn't wait for it.
			const { value, done } = await unlessAborted(this.#batches.next(), this.#signal);
			if (done) return undefined;
			if (value.numRows === 0) continue;
			this.#next = value;
			const cursor = value.metadata.get(META.cursor);
			if (cursor !== undefined) this.row = Number(cursor);
		}
		return this.#next;
	}

	/** Up to `rows` of the next rows, converted; undefined at the end. */
	async take(rows: number, convert: (batch: RecordBatch, row: number) => RecordBatch) {
		const batch = await this.peek();
		if (!batch) return undefined;
		const taken = convert(sliceBatch(batch, 0, Math.min(rows, batch.numRows)), this.row);
		this.#pass(taken.numRows);
		return taken;
	}

	/** Passes over the rows before row `row`. A stream without any is at its end when `total` is that row. */
	async skipTo(row: number, total: number | undefined): Promise<void> {
		if (!(await this.peek()) && row === total) return;
		for (let batch = await this.peek(); batch && this.row < row; batch = await this.peek()) {
			this.#pass(Math.min(batch.numRows, row - this.row));
		}
		if (this.row > row) {
			throw usageError(
				`row ${row} comes next, but the stream begins at row ${this.row}; --start ${row} begins there`,
			);
		}
		if (this.row < row) throw new SaeError(`row ${row} comes next, but the stream ends at row ${this.row}`);
	}

	#pass(rows: number): void {
		const batch = this.#next!;
		this.row += rows;
		this.#next = rows < batch.numRows ? sliceBatch(batch, rows) : undefined;
	}

	async close(): Promise<void> {
		// What waits for a stalled producer can't be waited for.
		this.#batches.return?.()?.catch(() => {});
	}
}
