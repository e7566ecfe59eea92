/** Rows of several batches in a new order. */
import { type Data, DataType, makeData, type RecordBatch } from "apache-arrow";
import { SaeError } from "../errors.ts";
import { asBytes } from "../files/dtype.ts";
import { makeBatch } from "./batch.ts";
import { fixedWidth } from "./load.ts";

/**
 * One batch of the rows `order` of `batches` taken as one table; its metadata is empty.
 *
 * @throws SaeError for columns of structs, of unions, and of lists of anything but plain values.
 */
export function takeRows(batches: readonly RecordBatch[], order: Uint32Array): RecordBatch {
	const { schema } = batches[0]!;
	const places = placesOf(batches, order);
	const columns = schema.fields.map((field, i) =>
		takeColumn(
			batches.map((batch) => batch.data.children[i]!),
			places,
			field.name,
		),
	);
	return makeBatch(schema, order.length, columns);
}

/** Where the rows of an order lie. The batches may have far more rows than are taken, so that only these are looked at. */
interface Places {
	readonly length: number;
	/** Of each row: the number of its batch, and which of the batch's rows it is. */
	readonly batch: Uint32Array;
	readonly row: Uint32Array;
}

function placesOf(batches: readonly RecordBatch[], order: Uint32Array): Places {
	const { length } = order;
	if (batches.length === 1) return { length, batch: new Uint32Array(length), row: order };
	const starts = new Float64Array(batches.length);
	for (let i = 1; i < starts.length; i++) starts[i] = starts[i - 1]! + batches[i - 1]!.numRows;
	const places = { length, batch: new Uint32Array(length), row: new Uint32Array(length) };
	for (let i = 0; i < length; i++) {
		let low = 0;
		for (let high = starts.length; high - low > 1; ) {
			const middle = (low + high) >> 1;
			if (starts[middle]! <= order[i]!) low = middle;
			else high = middle;
		}
		places.batch[i] = low;
		places.row[i] = order[i]! - starts[low]!;
	}
	return places;
}

function takeColumn(chunks: readonly Data[], places: Places, name: string): Data {
	const { type } = chunks[0]!;
	const { length } = places;
	const common = { length, ...takeValidity(chunks, places) };
	if (DataType.isFixedSizeList(type)) {
		const children = chunks.map((chunk) => chunk.children[0]!);
		const item = fixedWidth(type.valueType);
		if (item === undefined || children.some((child) => child.nullCount > 0)) throw cannotTake(name, type);
		const data = takeBytes(children, item * type.listSize, places);
		const child = makeData({ type: type.valueType, length: length * type.listSize, nullCount: 0, data });
		return makeData({ ...common, type, child });
	}
	if (DataType.isDictionary(type)) {
		const dictionary = chunks[0]!.dictionary!;
		if (chunks.some((chunk) => chunk.dictionary !== dictionary)) {
			throw new SaeError(
				`column ${name}: its dictionary changes, so that its rows can't be shuffled; drop it`,
			);
		}
		const data = takeBytes(chunks, fixedWidth(type.indices)!, places);
		return makeData({ ...common, type, data, dictionary });
	}
	if (DataType.isBool(type)) {
		const bits = chunks.map((chunk) => (row: number) => bitOf(chunk.values, chunk.offset + row));
		return makeData({ ...common, type, data: takeBits(bits, places) });
	}
	if (hasOffsets(type)) return takeSpans(chunks, places, name, common);
	if (DataType.isUtf8View(type) || DataType.isBinaryView(type)) {
		const variadicBuffers = chunks.flatMap((chunk) => chunk.variadicBuffers);
		return makeData({
			...common,
			type: type as never,
			views: takeViews(chunks, places),
			variadicBuffers,
		} as never);
	}
	const width = fixedWidth(type);
	if (width === undefined) throw cannotTake(name, type);
	return makeData({ ...common, type, data: takeBytes(chunks, width, places) } as never);
}

const VIEW_BYTES = 16;
/** Longer strings lie in a buffer, whose number the view holds at byte 8. */
const MAX_INLINE_BYTES = 12;

/** Views, with buffers numbered through all chunks. */
function takeViews(chunks: readonly Data[], places: Places): Uint8Array {
	const before = new Uint32Array(chunks.length);
	for (let i = 1; i < before.length; i++) before[i] = before[i - 1]! + chunks[i - 1]!.variadicBuffers.length;
	const taken = takeBytes(chunks, VIEW_BYTES, places);
	const view = new DataView(taken.buffer);
	for (let i = 0; i < places.length; i++) {
		const at = i * VIEW_BYTES;
		if (view.getInt32(at, true) <= MAX_INLINE_BYTES) continue;
		view.setInt32(at + 8, view.getInt32(at + 8, true) + before[places.batch[i]!]!, true);
	}
	return taken;
}

/** Rows of `width` bytes. */
function takeBytes(
	chunks: readonly { readonly values: ArrayBufferView }[],
	width: number,
	{ length, batch, row }: Places,
): Uint8Array {
	const target = Buffer.from(new ArrayBuffer(length * width));
	const sources = chunks.map(({ values }) =>
		Buffer.from(asBytes(values).buffer, values.byteOffset, values.byteLength),
	);
	const words = width === 4 ? sources.map(wordsOf) : [];
	if (width === 4 && words.every((one) => one !== undefined)) {
		// A copy per row is slow for single numbers.
		const into = wordsOf(target)!;
		for (let i = 0; i < length; i++) into[i] = words[batch[i]!]![row[i]!]!;
	} else {
		for (let i = 0; i < length; i++) {
			const start = row[i]! * width;
			sources[batch[i]!]!.copy(target, i * width, start, start + width);
		}
	}
	return new Uint8Array(target.buffer);
}

/** Undefined where they don't lie at words. */
function wordsOf({ buffer, byteOffset, byteLength }: Uint8Array): Uint32Array | undefined {
	return byteOffset % 4 === 0 ? new Uint32Array(buffer, byteOffset, byteLength >> 2) : undefined;
}

function concat(pieces: readonly Uint8Array[]): Uint8Array {
	const whole = new Uint8Array(pieces.reduce((total, piece) => total + piece.length, 0));
	let at = 0;
	for (const piece of pieces) {
		whole.set(piece, at);
		at += piece.length;
	}
	return whole;
}

function takeValidity(chunks: readonly Data[], places: Places) {
	if (chunks.every((chunk) => chunk.nullCount === 0)) return { nullCount: 0 };
	const valid = chunks.map((chunk) => (row: number) => chunk.getValid(row));
	return { nullBitmap: takeBits(valid, places), nullCount: -1 };
}

function takeBits(bits: readonly ((row: number) => boolean)[], { length, batch, row }: Places): Uint8Array {
	const out = new Uint8Array(Math.ceil(length / 8));
	for (let i = 0; i < length; i++) if (bits[batch[i]!]!(row[i]!)) out[i >> 3]! |= 1 << (i & 7);
	return out;
}

function bitOf(bytes: Uint8Array, i: number): boolean {
	return ((bytes[i >> 3]! >> (i & 7)) & 1) === 1;
}

function hasOffsets(type: DataType): boolean {
	return DataType.isList(type) || DataType.isUtf8(type) || DataType.isBinary(type) || hasLargeOffsets(type);
}

function hasLargeOffsets(type: DataType): boolean {
	return DataType.isLargeList(type) || DataType.isLargeUtf8(type) || DataType.isLargeBinary(type);
}

/** Text, bytes, and lists of values of a fixed width. */
function takeSpans(
	chunks: readonly Data[],
	{ length, batch, row }: Places,
	name: string,
	common: object,
): Data {
	const { type } = chunks[0]!;
	const item: DataType | undefined = type.children?.[0]?.type;
	const width = item ? fixedWidth(item) : 1;
	if (width === undefined || chunks.some((chunk) => (chunk.children[0]?.nullCount ?? 0) > 0)) {
		throw cannotTake(name, type);
	}
	const spanOf = (chunk: Data) => {
		const offsets = chunk.valueOffsets as Int32Array | BigInt64Array;
		const bytes = asBytes(item ? chunk.children[0]!.values : chunk.values);
		return (row: number) => bytes.subarray(Number(offsets[row]) * width, Number(offsets[row + 1]) * width);
	};
	const spans = chunks.map(spanOf);
	const taken = Array.from({ length }, (_, i) => spans[batch[i]!]!(row[i]!));
	const ends = new Int32Array(length + 1);
	for (let i = 0; i < length; i++) ends[i + 1] = ends[i]! + taken[i]!.length / width;
	const valueOffsets = hasLargeOffsets(type) ? BigInt64Array.from(ends, BigInt) : ends;
	const data = concat(taken);
	const content = item
		? { child: makeData({ type: item, length: ends[length]!, nullCount: 0, data } as never) }
		: { data };
	return makeData({ ...common, type: type as never, valueOffsets, ...content } as never);
}

function cannotTake(name: string, type: DataType): SaeError {
	return new SaeError(`column ${name}: rows of ${type} can't be shuffled; drop it before shuffling`);
}
