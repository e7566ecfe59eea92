/** Collects the rows of a stream into blocks of one size. */
import type { RecordBatch } from "apache-arrow";
import type { VectorType } from "./arrow/activations.ts";
import { numberColumn } from "./arrow/numbers.ts";
import type { BatchPart } from "./arrow/reader.ts";
import { vectorColumn } from "./arrow/vectors.ts";
import { SaeError } from "./errors.ts";
import { firstNonFinite } from "./finite.ts";
import { CounterRng } from "./random.ts";
import { permutation } from "./shuffle.ts";
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

/** Columns to read, by what they are for. */
export interface LaneColumns {
	readonly columns: readonly string[];
	readonly targets?: readonly string[] | undefined;
	readonly layers?: string | undefined;
}

export interface Lanes {
	readonly inputs: Lane;
	readonly targets: Lane | undefined;
	readonly layers: Lane | undefined;
	readonly all: readonly Lane[];
}

export function lanesOf({ columns, targets, layers }: LaneColumns): Lanes {
	const lanes = {
		inputs: new Lane(columns, "vectors"),
		targets: targets && new Lane(targets, "vectors"),
		layers: layers === undefined ? undefined : new Lane([layers], "numbers"),
	};
	return { ...lanes, all: Object.values(lanes).filter((lane) => lane !== undefined) };
}

function mixed(first: string, firstType: string, second: string, secondType: string): SaeError {
	return new SaeError(
		`column ${second}: its vectors are ${secondType}, those of ${first} are ${firstType}; columns that are read together have one type`,
	);
}

export function allocate(type: ValueType, length: number): Values {
	return view(type, new ArrayBuffer(length * (type === "float16" ? 2 : 4)));
}

/** The whole of `buffer` as values. */
export function view(type: ValueType, buffer: ArrayBuffer): Values {
	if (type === "float16") return new Uint16Array(buffer);
	return type === "uint32" ? new Uint32Array(buffer) : new Float32Array(buffer);
}

/** Some rows, by lane. */
export interface Block {
	readonly rows: number;
	readonly data: readonly Values[];
	/** In which the rows come; as they lie where there is none. */
	readonly order?: Uint32Array | undefined;
}

export const NO_BLOCK: Block = { rows: 0, data: [] };

/** What cuts a stream into blocks. */
export interface Blocks {
	/**
	 * The next block; fewer rows than a whole block at the end, none after it. A block is valid until the next one is
	 * asked for, and one without an order until the next but one is.
	 */
	next(): Promise<Block>;
	/** Does not wait: a producer that is in no hurry must not hold up a consumer that has enough. */
	close(): void;
}

/** Reads the next block while one is in use. `rows`: of a whole block. */
export function readAhead(blocks: Blocks, rows: number): Blocks {
	let pending: Promise<Block> | undefined;
	return {
		async next() {
			const block = await (pending ?? blocks.next());
			pending = block.rows === rows ? blocks.next() : Promise.resolve(NO_BLOCK);
			pending.catch(() => {});
			return block;
		},
		close: () => blocks.close(),
	};
}

export interface BlockLayout {
	/** Rows per block. */
	readonly rows: number;
	/** Row number of the first row of the first block. */
	readonly start: number;
	/** Number of the first block. */
	readonly first: number;
	/** Seed of the order within blocks; none: as they come. */
	readonly seed: number | undefined;
}

/** The batches of a stream that is read already, as parts. */
export async function* partsOfStream({ batches }: RecordStream): AsyncGenerator<BatchPart> {
	for await (const batch of batches) {
		yield { rows: batch.numRows, metadata: batch.metadata, load: async () => batch };
	}
}

/** Blocks that are read here. Sets of buffers take turns. */
export class LocalBlocks implements Blocks {
	readonly #parts: AsyncGenerator<BatchPart>;
	readonly #lanes: readonly Lane[];
	readonly #layout: BlockLayout;
	readonly #rng: CounterRng | undefined;
	readonly #buffers: (readonly Values[] | undefined)[];
	#turn = 0;
	#block: number;
	/** Row number at which the next batch should begin, if it says. */
	#expected: number | undefined;
	/** Row number of the next row to hand out. */
	#next: number;
	/** What is left of the last batch: rows from `from` to `to`. */
	#from = 0;
	#to = 0;

	/** @param held blocks that are valid at the same time. */
	constructor(parts: AsyncGenerator<BatchPart>, lanes: readonly Lane[], layout: BlockLayout, held: number) {
		this.#parts = parts;
		this.#lanes = lanes;
		this.#layout = layout;
		this.#rng = layout.seed === undefined ? undefined : new CounterRng(layout.seed);
		this.#buffers = new Array(held).fill(undefined);
		this.#block = layout.first;
		this.#next = layout.start;
	}

	/** @param memory of a whole block by lane, for this one, or none; by default its own. */
	async next(memory?: readonly ArrayBuffer[]): Promise<Block> {
		const turn = this.#turn;
		this.#turn = (turn + 1) % this.#buffers.length;
		const most = this.#layout.rows;
		let filled = 0;
		while (filled < most && (await this.#fill())) {
			if (filled === 0 && memory) this.#buffers[turn] = memory.length > 0 ? this.#over(memory) : undefined;
			this.#buffers[turn] ??= this.#lanes.map(({ type, width }) => allocate(type, most * width));
			const block = this.#buffers[turn]!;
			const take = Math.min(most - filled, this.#to - this.#from);
			for (const [i, lane] of this.#lanes.entries()) {
				lane.copy(block[i]!, filled, this.#from, take);
				// Now, while the values are in the processor's cache.
				lane.checkFinite(block[i]!.subarray(filled * lane.width, (filled + take) * lane.width), this.#next);
			}
			this.#from += take;
			filled += take;
			this.#next += take;
		}
		const block = this.#block++;
		if (filled === 0) return NO_BLOCK;
		const data = this.#buffers[turn]!.map((values, i) => values.subarray(0, filled * this.#lanes[i]!.width));
		return { rows: filled, data, order: this.#rng && permutation(this.#rng.derive(block), filled) };
	}

	#over(memory: readonly ArrayBuffer[]): Values[] {
		return this.#lanes.map(({ type }, i) => view(type, memory[i]!));
	}

	/** Passes over whole blocks. */
	skip(blocks: number): void {
		const rows = blocks * this.#layout.rows;
		this.#block += blocks;
		this.#next += rows;
		this.#from = Math.min(this.#to, this.#from + rows);
	}

	close(): void {
		this.#parts.return(undefined).catch(() => {});
	}

	/** Makes sure that what is left begins with the next row; false at the end. */
	async #fill(): Promise<boolean> {
		while (this.#from === this.#to) {
			const { done, value } = await this.#parts.next();
			if (done) return false;
			const first = this.#rowNumber(value);
			const { rows } = value;
			this.#expected = first + rows;
			this.#to = rows;
			this.#from = Math.min(rows, Math.max(0, this.#next - first));
			if (this.#from < this.#to) this.#receive(await value.load(), first);
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
	#rowNumber({ metadata }: BatchPart): number {
		const text = metadata.get(META.cursor);
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
