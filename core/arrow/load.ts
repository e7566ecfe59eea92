/**
 * Lays Arrow columns over the body of a record batch, without copying, and checks every claim of its header on
 * the way: buffers lie inside the body and are as long as their column needs, offsets ascend, children are as long
 * as their parents say. apache-arrow's own loader checks none of this.
 */
import {
	type Data,
	DataType,
	type Field,
	MetadataVersion,
	makeData,
	UnionMode,
	type Vector,
} from "apache-arrow";
import type { RecordBatch as BatchHeader } from "apache-arrow/ipc/metadata/message";
import { SaeError } from "../errors.ts";
import { typedView } from "../files/dtype.ts";
import { decompress } from "./compression.ts";

/** What a batch is loaded from. */
export interface Body {
	readonly header: BatchHeader;
	readonly bytes: Uint8Array;
	readonly dictionaries: ReadonlyMap<number, Vector>;
	readonly version: MetadataVersion;
	/** The input's name, for messages. */
	readonly name: string;
}

/** Upper bound of one batch's decompressed buffers together. */
export const MAX_BODY_BYTES = 2 ** 31;

/** The columns of a batch of `header.length` rows. */
export function loadColumns(body: Body, fields: readonly Field[]): Data[] {
	const loader = new Loader(body);
	return fields.map((field) => {
		const data = loader.column(field.type, field.name, body.header.length);
		return data.length > body.header.length ? data.slice(0, body.header.length) : data;
	});
}

/** The values of a dictionary batch. */
export function loadDictionary(body: Body, type: DataType): Data {
	return new Loader(body).column(type, "a dictionary", body.header.length);
}

class Loader {
	readonly #body: Body;
	#node = 0;
	#buffer = 0;
	#variadic = 0;
	#budget = MAX_BODY_BYTES;

	constructor(body: Body) {
		this.#body = body;
	}

	/** The next column; `name` is the top-level column's, for messages. `rows`: how many it must have at least. */
	column(type: DataType, name: string, rows = 0): Data {
		const node = this.#body.header.nodes[this.#node++];
		if (!node || node.length < rows || node.nullCount < 0 || node.nullCount > node.length) {
			throw this.#damaged(name, "its length disagrees with the batch's");
		}
		const { length, nullCount } = node;
		return this.#load(type, name, length, nullCount);
	}

	#load(type: DataType, name: string, length: number, nullCount: number): Data {
		if (DataType.isNull(type)) return makeData({ type, length });
		if (DataType.isUnion(type)) return this.#union(type, name, length);
		const nullBitmap = this.#validity(name, length, nullCount);
		const common = { length, nullCount, nullBitmap };

		if (DataType.isDictionary(type)) {
			const dictionary = this.#body.dictionaries.get(type.id);
			if (!dictionary) throw this.#damaged(name, "its dictionary comes too late or not at all");
			const data = this.#take(name, length * fixedWidth(type.indices)!);
			return makeData({ ...common, type, data, dictionary });
		}
		if (DataType.isStruct(type)) {
			const children = type.children.map((child) => this.column(child.type, name, length));
			return makeData({ ...common, type, children });
		}
		if (DataType.isFixedSizeList(type)) {
			if (type.listSize < 0) throw this.#damaged(name, "its list size is negative");
			const child = this.column(type.valueType, name, length * type.listSize);
			return makeData({ ...common, type, child });
		}
		if (DataType.isList(type) || DataType.isMap(type)) {
			const valueOffsets = this.#offsets(name, length);
			const child = this.column(type.children[0]!.type, name, valueOffsets[length] ?? 0);
			return makeData({ ...common, type: type as never, valueOffsets, child } as never);
		}
		if (DataType.isLargeList(type)) {
			const valueOffsets = this.#largeOffsets(name, length);
			const child = this.column(type.valueType, name, Number(valueOffsets[length] ?? 0n));
			return makeData({ ...common, type, valueOffsets, child });
		}
		if (DataType.isUtf8(type) || DataType.isBinary(type)) {
			const valueOffsets = this.#offsets(name, length);
			const data = this.#take(name, valueOffsets[length] ?? 0);
			return makeData({ ...common, type: type as never, valueOffsets, data } as never);
		}
		if (DataType.isLargeUtf8(type) || DataType.isLargeBinary(type)) {
			const valueOffsets = this.#largeOffsets(name, length);
			const data = this.#take(name, Number(valueOffsets[length] ?? 0n));
			return makeData({ ...common, type: type as never, valueOffsets, data } as never);
		}
		if (DataType.isUtf8View(type) || DataType.isBinaryView(type)) {
			const views = this.#take(name, length * 16);
			const count = this.#body.header.variadicBufferCounts[this.#variadic++] ?? 0;
			const remaining = this.#body.header.buffers.length - this.#buffer;
			if (count < 0 || count > remaining) throw this.#damaged(name, "buffers are missing");
			const variadicBuffers = Array.from({ length: count }, () => this.#next(name));
			return makeData({ ...common, type: type as never, views, variadicBuffers } as never);
		}
		if (DataType.isBool(type)) {
			return makeData({ ...common, type, data: this.#take(name, Math.ceil(length / 8)) });
		}
		const width = fixedWidth(type);
		if (width === undefined) {
			throw new SaeError(
				`${this.#body.name}: column ${name} has the type ${type}, which can't be read; drop it`,
			);
		}
		return makeData({ ...common, type, data: this.#take(name, length * width) } as never);
	}

	#union(type: DataType, name: string, length: number): Data {
		const union = type as DataType & { mode: UnionMode };
		if (this.#body.version < MetadataVersion.V5) this.#next(name);
		const typeIds = this.#take(name, length);
		const dense = union.mode === UnionMode.Dense;
		const offsets = dense ? { valueOffsets: typedView(Int32Array, this.#take(name, length * 4)) } : {};
		const children = type.children.map((child) => this.column(child.type, name, dense ? undefined : length));
		return makeData({ type: type as never, length, typeIds, children, ...offsets } as never);
	}

	#validity(name: string, length: number, nullCount: number): Uint8Array | undefined {
		const bitmap = this.#next(name);
		if (nullCount === 0) return undefined;
		return this.#cut(bitmap, Math.ceil(length / 8), name);
	}

	/** Offsets of `length` lists: length + 1 ascending numbers. No rows may mean no offsets. */
	#offsets(name: string, length: number): Int32Array {
		const bytes = this.#next(name);
		if (length === 0) return new Int32Array(1);
		const offsets = typedView(Int32Array, this.#cut(bytes, 4 * (length + 1), name));
		let previous = 0;
		for (const offset of offsets) {
			if (offset < previous) throw this.#damaged(name, "its offsets don't ascend");
			previous = offset;
		}
		return offsets;
	}

	#largeOffsets(name: string, length: number): BigInt64Array {
		const bytes = this.#next(name);
		if (length === 0) return new BigInt64Array(1);
		const offsets = typedView(BigInt64Array, this.#cut(bytes, 8 * (length + 1), name));
		let previous = 0n;
		for (const offset of offsets) {
			if (offset < previous) throw this.#damaged(name, "its offsets don't ascend");
			previous = offset;
		}
		return offsets;
	}

	/** The first `bytes` bytes of the next buffer. */
	#take(name: string, bytes: number): Uint8Array {
		return this.#cut(this.#next(name), bytes, name);
	}

	#cut(buffer: Uint8Array, bytes: number, name: string): Uint8Array {
		if (buffer.length < bytes) throw this.#damaged(name, "its data is shorter than its rows need");
		return buffer.subarray(0, bytes);
	}

	#next(name: string): Uint8Array {
		const { header, bytes } = this.#body;
		const region = header.buffers[this.#buffer++];
		if (!region) throw this.#damaged(name, "buffers are missing");
		const { offset, length } = region;
		if (offset < 0 || length < 0 || offset + length > bytes.length) {
			throw this.#damaged(name, "a buffer lies outside its message");
		}
		const buffer = bytes.subarray(offset, offset + length);
		if (!header.compression) return buffer;
		const unpacked = decompress(buffer, header.compression.type, this.#budget, this.#body.name);
		this.#budget -= unpacked.length;
		return unpacked;
	}

	#damaged(column: string, why: string): SaeError {
		return new SaeError(`${this.#body.name}: column ${column} is damaged (${why}); make the file again`);
	}
}

/** Bytes per value, for types whose values have a fixed number of bytes. */
export function fixedWidth(type: DataType): number | undefined {
	if (DataType.isInt(type) || DataType.isTime(type) || DataType.isDecimal(type)) return type.bitWidth / 8;
	if (DataType.isFloat(type)) return 2 << type.precision;
	if (DataType.isFixedSizeBinary(type)) return type.byteWidth;
	if (DataType.isDate(type)) return type.unit === 0 ? 4 : 8;
	if (DataType.isTimestamp(type) || DataType.isDuration(type)) return 8;
	if (DataType.isInterval(type)) return [4, 8, 16][type.unit];
	return undefined;
}
