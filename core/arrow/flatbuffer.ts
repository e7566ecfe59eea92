/**
 * Checks the flatbuffers of Arrow messages before apache-arrow decodes them: its decoder trusts every offset and
 * vector length, so that four damaged bytes can make it loop for minutes or fill the memory. Tables are described
 * by the kinds of their fields, in the order of Arrow's Message.fbs, Schema.fbs and File.fbs.
 */
import { SaeError } from "../errors.ts";

/** Kind of one table field: a scalar of that many bytes, or something reached through an offset. */
type Kind =
	| number
	| "string"
	| { readonly table: () => Table }
	| { readonly structs: number }
	| { readonly tables: () => Table }
	| { readonly union: Readonly<Record<number, Table>> };

type Table = readonly Kind[];

const KEY_VALUE: Table = ["string", "string"];
const METADATA: Kind = { tables: () => KEY_VALUE };
const INT: Table = [4, 1];
const DICTIONARY_ENCODING: Table = [8, { table: () => INT }, 1, 2];
const ONE_SHORT: Table = [2];

/** Members of the union `Type`, by their number. */
const TYPES: Readonly<Record<number, Table>> = {
	1: [],
	2: INT,
	3: ONE_SHORT,
	4: [],
	5: [],
	6: [],
	7: [4, 4, 4],
	8: ONE_SHORT,
	9: [2, 4],
	10: [2, "string"],
	11: ONE_SHORT,
	12: [],
	13: [],
	14: [2, { structs: 4 }],
	15: [4],
	16: [4],
	17: [1],
	18: ONE_SHORT,
	19: [],
	20: [],
	21: [],
	22: [],
	23: [],
	24: [],
	25: [],
	26: [],
};

const FIELD: Table = [
	"string",
	1,
	1,
	{ union: TYPES },
	{ table: () => DICTIONARY_ENCODING },
	{ tables: () => FIELD },
	METADATA,
];
const SCHEMA: Table = [2, { tables: () => FIELD }, METADATA, { structs: 8 }];
const BODY_COMPRESSION: Table = [1, 1];
const RECORD_BATCH: Table = [
	8,
	{ structs: 16 },
	{ structs: 16 },
	{ table: () => BODY_COMPRESSION },
	{ structs: 8 },
];
const DICTIONARY_BATCH: Table = [8, { table: () => RECORD_BATCH }, 1];

/** Union members are numbered from 1: Schema, DictionaryBatch, RecordBatch. */
const MESSAGE: Table = [2, 1, { union: { 1: SCHEMA, 2: DICTIONARY_BATCH, 3: RECORD_BATCH } }, 8, METADATA];
const FOOTER: Table = [2, { table: () => SCHEMA }, { structs: 24 }, { structs: 24 }, METADATA];

const MAX_DEPTH = 64;

/** Throws unless `bytes` is a sound flatbuffer of the table `Message`. */
export function checkMessage(bytes: Uint8Array, name: string): void {
	new Verifier(bytes, name).root(MESSAGE);
}

/** Throws unless `bytes` is a sound flatbuffer of the table `Footer`. */
export function checkFooter(bytes: Uint8Array, name: string): void {
	new Verifier(bytes, name).root(FOOTER);
}

class Verifier {
	readonly #view: DataView;
	readonly #name: string;
	/** Tables may be shared; counting visits keeps a crafted buffer from multiplying them. */
	#visits = 0;

	constructor(bytes: Uint8Array, name: string) {
		this.#view = new DataView(bytes.buffer, bytes.byteOffset, bytes.byteLength);
		this.#name = name;
	}

	root(table: Table): void {
		this.#table(this.#follow(0), table, 0);
	}

	#table(start: number, kinds: Table, depth: number): void {
		if (depth > MAX_DEPTH || ++this.#visits > this.#view.byteLength) throw this.#damaged();
		this.#span(start, 4);
		const vtable = start - this.#view.getInt32(start, true);
		this.#span(vtable, 4);
		const vtableBytes = this.#view.getUint16(vtable, true);
		const tableBytes = this.#view.getUint16(vtable + 2, true);
		if (vtableBytes < 4 || vtableBytes % 2 !== 0) throw this.#damaged();
		this.#span(vtable, vtableBytes);
		this.#span(start, tableBytes);
		const slots = (vtableBytes - 4) / 2;
		let member = 0;
		for (let i = 0; i < Math.min(slots, kinds.length); i++) {
			const offset = this.#view.getUint16(vtable + 4 + 2 * i, true);
			const kind = kinds[i]!;
			if (offset === 0) {
				member = 0;
				continue;
			}
			const bytes = typeof kind === "number" ? kind : 4;
			if (offset + bytes > tableBytes) throw this.#damaged();
			if (typeof kind === "number") member = this.#view.getUint8(start + offset);
			else this.#reference(start + offset, kind, member, depth);
		}
	}

	/** `member`: the byte field before this one, which for a union says what it holds. */
	#reference(at: number, kind: Exclude<Kind, number>, member: number, depth: number): void {
		const target = this.#follow(at);
		if (kind === "string") {
			this.#vector(target, 1);
		} else if ("structs" in kind) {
			this.#vector(target, kind.structs);
		} else if ("table" in kind) {
			this.#table(target, kind.table(), depth + 1);
		} else if ("union" in kind) {
			const table = kind.union[member];
			if (!table) throw this.#damaged();
			this.#table(target, table, depth + 1);
		} else {
			const count = this.#vector(target, 4);
			for (let i = 0; i < count; i++) {
				this.#table(this.#follow(target + 4 + 4 * i), kind.tables(), depth + 1);
			}
		}
	}

	/** Checks a vector of `elementBytes` each; returns its length. */
	#vector(start: number, elementBytes: number): number {
		this.#span(start, 4);
		const count = this.#view.getUint32(start, true);
		this.#span(start + 4, count * elementBytes);
		return count;
	}

	#follow(at: number): number {
		this.#span(at, 4);
		return at + this.#view.getUint32(at, true);
	}

	#span(start: number, bytes: number): void {
		if (start < 0 || start + bytes > this.#view.byteLength) throw this.#damaged();
	}

	#damaged(): SaeError {
		return new SaeError(`${this.#name}: the metadata of an Arrow message is damaged; make the file again`);
	}
}
