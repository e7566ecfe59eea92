/** Collects the rows of a stream into blocks of one size. */
import type { RecordBatch } from "apache-arrow";
import type { VectorType } from "./arrow/activations.ts";
import { numberColumn } from "./arrow/numbers.ts";
import { vectorColumn } from "./arrow/vectors.ts";
import { SaeError } from "./errors.ts";
import { firstNonFinite } from "./finite.ts";
import { META, type RecordStream } from "./stream.ts";

/** Float32 values, float16 as their bits, or whole numbers. */
export type Values = Float32Array | Uint16Array | Uint32Array;

export type ValueType = VectorType | "uint32";

/** Columns that become one array [rows, width], side by side. */
export class Lane {
	readonly columns: readonly string[];
	/** Width of each column; none before the first row. */
	widths: readonly number[] = [];
	width = 0;
	type: ValueType;
	/** By column, of the batch that came last. */
	#pieces: readonly Values[] = [];

	/** @param kind of what the columns hold; numbers are one to a row. */
	constructor(columns: readonly string[], kind: "vectors" | "numbers") {
		this.columns = columns;
		this.type = kind === "numbers" ? "uint32" : "float32";
	}

	/** Takes the columns of a batch that has rows; `row` is the number of its first one. */
	receive(batch: RecordBatch, row: number): void {
		if (this.type === "uint32") {
			this.#pieces = this.columns.map((column) => numberColumn(batch, column));
			this.widths = this.columns.map(() => 1);
			this.width = this.columns.length;
			return;
		}
		const pieces = this.columns.map((column) => vectorColumn(batch, column));
		if (this.width === 0) {
			const [first] = pieces;
			for (const [i, { width, type }] of pieces.entries()) {
				if (width === 0) throw new SaeError(`column ${this.columns[i]}: its vectors have no values`);
				if (type !== first!.type) throw mixed(this.columns[0]!, first!.type, this.columns[i]!, type);
			}
			this.widths = pieces.map(({ width }) => width);
			this.width = this.widths.reduce((sum, width) => sum + width, 0);
			this.type = first!.type;
		}
		for (const [i, { width, type }] of pieces.entries()) {
			if (width === this.widths[i] && type === this.type) continue;
			throw new SaeError(
				`column ${this.columns[i]}: changes from ${this.type}[${this.widths[i]}] to ${type}[${width}] at row ${row}`,
			);
		}
		this.#pieces = pieces.map(({ data }) => data);
	}

	/** All rows of that batch; of one column, they are not copied. */
	all(): Values {
		const [only] = this.#pieces;
		if (this.#pieces.length === 1) return only!;
		const rows = only!.length / this.widths[0]!;
		const data = allocate(this.type, rows * this.width);
		this.copy(data, 0, 0, rows);
		return data;
	}

	/** Copies `count` rows of that batch, from its row `from`, to `target` from its row `at` on. */
	copy(target: Values, at: number, from: number, count: number): void {
		const { width, widths } = this;
		const [only] = this.#pieces;
		if (this.#pieces.length === 1) {
			target.set(only!.subarray(from * width, (from + count) * width), at * width);
			return;
		}
		let offset = 0;
		for (const [i, piece] of this.#pieces.entries()) {
			const own = widths[i]!;
			for (let row = 0; row < count; row++) {
				const start = (from + row) * own;
				target.set(piece.subarray(start, start + own), (at + row) * width + offset);
			}
			offset += own;
		}
	}

	/** @throws SaeError that names the first value of `data` [rows, width] that is not finite. */
	checkFinite(data: Values, firstRow: number): void {
		if (data instanceof Uint32Array) return;
		const bad = firstNonFinite(data);
		if (bad < 0) return;
		const row = firstRow + Math.floor(bad / this.width);
		let place = bad % this.width;
		let column = 0;
		while (place >= this.widths[column]!) place -= this.widths[column++]!;
		throw new SaeError(
			`column ${this.columns[column]}: row ${row} holds NaN or infinity (value ${place}); drop such rows or repair the program that made them`,
		);
	}
}

function mixed(first: string, firstType: string, second: string, secondType: string): SaeError {
	return new SaeError(
		`column ${second}: its vectors are ${secondType}, those of ${first} are ${firstType}; columns that are read together have one type`,
	);
}

export function allocate(type: ValueType, length: number): Values {
	if (type === "float16") return new Uint16Array(length);
	return type === "uint32" ? new Uint32Array(length) : new Float32Array(length);
}

/** Some rows, by lane. */
export interface Block {
	readonly rows: number;
	readonly data: readonly Values[];
}

export const NO_BLOCK: Block = { rows: 0, data: [] };

/** Two sets of buffers take turns, so a block is valid until the next but one. */
export class BlockSource {
	readonly #batches: AsyncIterator<RecordBatch>;
	readonly #lanes: readonly Lane[];
	readonly #rows: number;
	readonly #buffers: (readonly Values[] | undefined)[] = [undefined, undefined];
	#turn = 0;
	/** Row number at which the next batch should begin, if it says. */
	#expected: number | undefined;
	/** Row number of the next row to hand out. */
	#next: number;
	/** What is left of the last batch: rows from `from` to `to`. */
	#from = 0;
	#to = 0;

	constructor(stream: RecordStream, lanes: readonly Lane[], rows: number, start: number) {
		this.#batches = stream.batches[Symbol.asyncIterator]();
		this.#lanes = lanes;
		this.#rows = rows;
		this.#next = start;
	}

	/** The next block; fewer rows than a whole block at the end, none after it. */
	async next(): Promise<Block> {
		const turn = this.#turn;
		this.#turn = 1 - turn;
		let filled = 0;
		while (filled < this.#rows && (await this.#fill())) {
			this.#buffers[turn] ??= this.#lanes.map(({ type, width }) => allocate(type, this.#rows * width));
			const block = this.#buffers[turn]!;
			const take = Math.min(this.#rows - filled, this.#to - this.#from);
			for (const [i, lane] of this.#lanes.entries()) lane.copy(block[i]!, filled, this.#from, take);
			this.#from += take;
			filled += take;
			this.#next += take;
		}
		if (filled === 0) return NO_BLOCK;
		const data = this.#buffers[turn]!.map((values, i) => values.subarray(0, filled * this.#lanes[i]!.width));
		for (const [i, lane] of this.#lanes.entries()) lane.checkFinite(data[i]!, this.#next - filled);
		return { rows: filled, data };
	}

	/** Does not wait: a producer that is in no hurry must not hold up a consumer that has enough. */
	close(): void {
		this.#batches.return?.().catch(() => {});
	}

	/** Makes sure that what is left begins with the next row; false at the end. */
	async #fill(): Promise<boolean> {
		while (this.#from === this.#to) {
			const { done, value } = await this.#batches.next();
			if (done) return false;
			const first = this.#rowNumber(value);
			const rows = value.numRows;
			if (rows > 0) this.#receive(value, first);
			this.#expected = first + rows;
			this.#to = rows;
			this.#from = Math.min(rows, Math.max(0, this.#next - first));
		}
		return true;
	}

	#receive(batch: RecordBatch, row: number): void {
		for (const lane of this.#lanes) lane.receive(batch, row);
		const [first, ...others] = this.#lanes.filter(({ type }) => type !== "uint32");
		for (const { type, columns } of others) {
			if (type !== first!.type) throw mixed(first!.columns[0]!, first!.type, columns[0]!, type);
		}
	}

	/** The number of the batch's first row, from its cursor. */
	#rowNumber(batch: RecordBatch): number {
		const text = batch.metadata.get(META.cursor);
		const expected = this.#expected ?? 0;
		if (text === undefined) return expected;
		const cursor = Number(text);
		if (!Number.isSafeInteger(cursor) || cursor < 0) {
			throw new SaeError(`the stream's ${META.cursor} is "${text}", not a row number; make the stream again`);
		}
		if (this.#expected === undefined && cursor > this.#next) {
			throw new SaeError(
				`the stream starts at row ${cursor}, but row ${this.#next} is needed: start the producer with --start ${this.#next}`,
			);
		}
		if (this.#expected !== undefined && cursor !== expected) {
			throw new SaeError(
				`the stream jumps to row ${cursor} where row ${expected} should follow; make it again in one piece`,
			);
		}
		return cursor;
	}
}
