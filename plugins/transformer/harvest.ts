/** Runs contexts through the model and emits what it gives, while the device already works on the next ones. */
import type { RecordBatch } from "apache-arrow";
import type { TextContext as Context, Core, Logger, Transformer } from "saeflow";
import type { Output, Rows } from "./output.ts";

export interface Harvest {
	open(): Promise<Transformer>;
	readonly contexts: AsyncIterable<Context>;
	readonly output: Output;
	/** Rows of the stream to pass over; contexts before it are not run. */
	readonly start: number;
	readonly limit: number;
	/** Tokens that give no rows. */
	readonly drop: ReadonlySet<number>;
	readonly log: Logger;
}

export async function* harvest(core: Core, job: Harvest): AsyncGenerator<RecordBatch> {
	const { output, limit } = job;
	if (job.start >= limit) return;
	const model = await job.open();
	const meter = new Meter(job.log);
	try {
		let waiting: Pass | undefined;
		let row = job.start;
		for await (const pass of passes(core, job, model)) {
			if (waiting) {
				const batch = await emitted(waiting, output, row, limit);
				meter.count(waiting.batch.length);
				if (batch) {
					row += batch.numRows;
					yield batch;
				}
			}
			waiting = pass;
			if (row >= limit) return;
		}
		const batch = waiting && (await emitted(waiting, output, row, limit));
		if (waiting) meter.count(waiting.batch.length);
		if (batch) yield batch;
	} finally {
		meter.end();
		model.close();
	}
}

/** A pass whose values are on their way from the device. */
interface Pass {
	readonly batch: Uint32Array;
	/** Rows of the stream to leave out at its beginning. */
	readonly skip: number;
	readonly rows: Promise<Rows>;
}

async function emitted(
	{ rows, skip }: Pass,
	output: Output,
	row: number,
	limit: number,
): Promise<RecordBatch | undefined> {
	const ready = await rows;
	const end = Math.min(ready.tokens.length * output.perToken, skip + limit - row);
	return end > skip ? output.batch(ready, skip, end, row) : undefined;
}

/** Submits contexts, as many at a time as the model takes. */
async function* passes(core: Core, job: Harvest, model: Transformer): AsyncGenerator<Pass> {
	let skip = job.start;
	let left = job.limit;
	let group: Context[] = [];
	let held = 0;
	for await (const context of job.contexts) {
		const given = context.tokens.reduce((sum, token) => sum + (job.drop.has(token) ? 0 : 1), 0);
		if (group.length === 0 && given * job.output.perToken <= skip) {
			skip -= given * job.output.perToken;
			left -= given * job.output.perToken;
			continue;
		}
		if (held + context.tokens.length > model.rows) {
			yield await submit(model, group, job, skip);
			skip = 0;
			group = [];
			held = 0;
		}
		group.push(context);
		held += context.tokens.length;
		left -= given * job.output.perToken;
		// What comes after the limit is not run.
		if (left <= 0) break;
	}
	if (group.length > 0) yield await submit(model, group, job, skip);
	else if (skip > 0) throw core.usageError(`--start ${job.start}: there are only ${job.start - skip} rows`);
}

async function submit(
	model: Transformer,
	contexts: readonly Context[],
	{ output: { taps }, drop }: Harvest,
	skip: number,
): Promise<Pass> {
	const tokens = joined(contexts.map((context) => context.tokens));
	const documents = joined(contexts.map((context) => context.documents));
	const positions = joined(contexts.map(({ tokens }) => Uint32Array.from(tokens.keys())));
	const values = new Map<string, Promise<Float32Array>>();
	const hooks = new Map(
		taps.map(({ point: { name } }) => [
			name,
			(value: Parameters<Transformer["read"]>[0]) => void values.set(name, model.read(value)),
		]),
	);
	await model.run({ tokens, sequences: contexts.map(({ tokens: { length } }) => ({ length })) }, hooks);
	const read = Promise.all(taps.map(({ point }) => values.get(point.name)!));
	const rows = read.then((values) => kept({ values, tokens, documents, positions }, taps, drop));
	// It is awaited once the next pass is on its way; until then a failure is nobody's.
	rows.catch(() => {});
	return { batch: tokens, skip, rows };
}

/** The rows without those of dropped tokens. */
function kept(rows: Rows, taps: Harvest["output"]["taps"], drop: ReadonlySet<number>): Rows {
	if (drop.size === 0) return rows;
	const keep = Uint32Array.from(rows.tokens.keys()).filter((row) => !drop.has(rows.tokens[row]!));
	if (keep.length === rows.tokens.length) return rows;
	const take = (of: Uint32Array) => Uint32Array.from(keep, (row) => of[row]!);
	const values = rows.values.map((data, i) => {
		const { width } = taps[i]!.point;
		const out = new Float32Array(keep.length * width);
		for (const [to, row] of keep.entries())
			out.set(data.subarray(row * width, (row + 1) * width), to * width);
		return out;
	});
	return {
		values,
		tokens: take(rows.tokens),
		documents: take(rows.documents),
		positions: take(rows.positions),
	};
}

function joined(parts: readonly Uint32Array[]): Uint32Array {
	const all = new Uint32Array(parts.reduce((sum, part) => sum + part.length, 0));
	let at = 0;
	for (const part of parts) {
		all.set(part, at);
		at += part.length;
	}
	return all;
}

/** Says how fast it goes, the time for compiling kernels included. */
class Meter {
	readonly #log: Logger;
	readonly #begin = performance.now();
	#tokens = 0;

	constructor(log: Logger) {
		this.#log = log;
	}

	count(tokens: number): void {
		// One pass alone is all that the last line tells.
		if (this.#tokens > 0) this.#log.progress(this.#text());
		this.#tokens += tokens;
	}

	end(): void {
		if (this.#tokens > 0) this.#log.info(this.#text());
	}

	#text(): string {
		const seconds = (performance.now() - this.#begin) / 1000;
		const rate = Math.round(this.#tokens / seconds);
		return `${this.#tokens} tokens in ${seconds.toFixed(1)} s, ${rate} tokens/s`;
	}
}
