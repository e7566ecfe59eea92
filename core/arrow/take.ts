/** Rows of several batches in a new order. */
import { type Data, DataType, makeData, type RecordBatch } from "apache-arrow";
import { SaeError } from "../errors.ts";
import { asBytes } from "../files/dtype.ts";
import { gatherRows } from "../gather.ts";
import { makeBatch } from "./batch.ts";
import { fixedWidth } from "./load.ts";

/**
 * One batch of the rows `order` of `batches` taken as one table; its metadata is empty.
 *
 * @throws SaeError for columns of structs, of unions, and of lists of anything but plain values.
 */
export function takeRows(batches: readonly RecordBatch[], order: Uint32Array): RecordBatch {
	const { schema } = batches[0]!;
	const columns = schema.fields.map((field, i) =>
		takeColumn(
			batches.map((batch) => batch.data.children[i]!),
			order,
			field.name,
		),
	);
	return makeBatch(schema, order.length, columns);
}

function takeColumn(chunks: readonly Data[], order: Uint32Array, name: string): Data {
	const { type } = chunks[0]!;
	const length = order.length;
	const common = { length, ...takeValidity(chunks, order) };
	if (DataType.isFixedSizeList(type)) {
		const children = chunks.map((chunk) => chunk.children[0]!);
		const item = fixedWidth(type.valueType);
		if (item === undefined || children.some((child) => child.nullCount > 0)) throw cannotTake(name, type);
		const data = takeBytes(children, chunks, item * type.listSize, order);
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
		const data = takeBytes(chunks, chunks, fixedWidth(type.indices)!, order);
		return makeData({ ...common, type, data, dictionary });
	}
	if (DataType.isBool(type)) {
		const bits = chunks.map((chunk) => (row: number) => bitOf(chunk.values, chunk.offset + row));
		return makeData({ ...common, type, data: takeBits(bits, chunks, order) });
	}
	if (hasOffsets(type)) return takeSpans(chunks, order, name, common);
	if (DataType.isUtf8View(type) || DataType.isBinaryView(type)) {
		const views = takeBytes(chunks.map(joinedViews(chunks)), chunks, VIEW_BYTES, order);
		const variadicBuffers = chunks.flatMap((chunk) => chunk.variadicBuffers);
		return makeData({ ...common, type: type as never, views, variadicBuffers } as never);
	}
	const width = fixedWidth(type);
	if (width === undefined) throw cannotTake(name, type);
	return makeData({ ...common, type, data: takeBytes(chunks, chunks, width, order) } as never);
}

const VIEW_BYTES = 16;
/** Longer strings lie in a buffer, whose number the view holds at byte 8. */
const MAX_INLINE_BYTES = 12;

/** The views of a chunk, with buffers numbered through all chunks. */
function joinedViews(chunks: readonly Data[]) {
	return (chunk: Data, i: number): { values: Uint8Array } => {
		const before = chunks.slice(0, i).reduce((sum, { variadicBuffers }) => sum + variadicBuffers.length, 0);
		const values = new Uint8Array(asBytes(chunk.values).subarray(0, chunk.length * VIEW_BYTES));
		const view = new DataView(values.buffer);
		for (let at = 0; at < values.length; at += VIEW_BYTES) {
			if (view.getInt32(at, true) > MAX_INLINE_BYTES) {
				view.setInt32(at + 8, view.getInt32(at + 8, true) + before, true);
			}
		}
		return { values };
	};
}

/** Rows of `width` bytes. `rowsOf` says how many rows each of `chunks` stands for. */
function takeBytes(
	chunks: readonly { readonly values: ArrayBufferView }[],
	rowsOf: readonly Data[],
	width: number,
	order: Uint32Array,
): Uint8Array {
	const pieces = chunks.map((chunk, i) => asBytes(chunk.values).subarray(0, rowsOf[i]!.length * width));
	const whole = pieces.length === 1 ? pieces[0]! : concat(pieces);
	const target = new Uint8Array(order.length * width);
	// Whole words where they fit: one typed-array copy per row is slow for single numbers.
	if (width % 4 === 0 && whole.byteOffset % 4 === 0) {
		gatherRows(words(target), 0, words(whole), width / 4, order);
	} else {
		gatherRows(target, 0, whole, width, order);
	}
	return target;
}

function words(bytes: Uint8Array): Uint32Array {
	return new Uint32Array(bytes.buffer, bytes.byteOffset, bytes.byteLength / 4);
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

function takeValidity(chunks: readonly Data[], order: Uint32Array) {
	if (chunks.every((chunk) => chunk.nullCount === 0)) return { nullCount: 0 };
	const valid = chunks.map((chunk) => (row: number) => chunk.getValid(row));
	return { nullBitmap: takeBits(valid, chunks, order), nullCount: -1 };
}

function takeBits(
	bits: readonly ((row: number) => boolean)[],
	chunks: readonly Data[],
	order: Uint32Array,
): Uint8Array {
	const all = chunks.flatMap((chunk, i) => Array.from({ length: chunk.length }, (_, row) => bits[i]!(row)));
	const out = new Uint8Array(Math.ceil(order.length / 8));
	for (let i = 0; i < order.length; i++) if (all[order[i]!]) out[i >> 3]! |= 1 << (i & 7);
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
function takeSpans(chunks: readonly Data[], order: Uint32Array, name: string, common: object): Data {
	const { type } = chunks[0]!;
	const item: DataType | undefined = type.children?.[0]?.type;
	const width = item ? fixedWidth(item) : 1;
	if (width === undefined || chunks.some((chunk) => (chunk.children[0]?.nullCount ?? 0) > 0)) {
		throw cannotTake(name, type);
	}
	const spans = chunks.flatMap((chunk) => {
		const offsets = chunk.valueOffsets as Int32Array | BigInt64Array;
		const bytes = asBytes(item ? chunk.children[0]!.values : chunk.values);
		return Array.from({ length: chunk.length }, (_, row) =>
			bytes.subarray(Number(offsets[row]) * width, Number(offsets[row + 1]) * width),
		);
	});
	const ends = new Int32Array(order.length + 1);
	for (let i = 0; i < order.length; i++) ends[i + 1] = ends[i]! + spans[order[i]!]!.length / width;
	const valueOffsets = hasLargeOffsets(type) ? BigInt64Array.from(ends, BigInt) : ends;
	const data = concat(Array.from(order, (row) => spans[row]!));
	const length = ends[order.length]!;
	const content = item ? { child: makeData({ type: item, length, nullCount: 0, data } as never) } : { data };
	return makeData({ ...common, type: type as never, valueOffsets, ...content } as never);
}

function cannotTake(name: string, type: DataType): SaeError {
	return new SaeError(`column ${name}: rows of ${type} can't be shuffled; drop it before shuffling`);
}
