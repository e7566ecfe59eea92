/**
 * Reads Python pickles, protocols 0 to 5, as data: numbers, text, lists and dictionaries, and what the caller's table of
 * names makes. A pickle is a program for a stack machine that may name any function and call it; here a name that is
 * not in the table ends the reading, and only what the table made can be called. Written here because the npm
 * package pickleparser calls whatever lies on its stack, lets state set `__setstate__`, and reads negative integers
 * of protocol 2 as positive ones. Opcodes: CPython, Lib/pickletools.py.
 */
import { isSaeError, SaeError } from "../errors.ts";

/** Lists and tuples are arrays, dictionaries are Maps; integers beyond 2^53 are bigints. */
export type Pickled = unknown;

/** A function that a pickle may call, or the class of something that it may make. */
export class Callable {
	readonly call: (args: readonly Pickled[]) => Pickled;

	constructor(call: (args: readonly Pickled[]) => Pickled) {
		this.call = call;
	}
}

export interface PickleRules {
	/** For messages. */
	readonly name: string;
	/** What a pickle may name, by `module name`; only a {@link Callable} can be called. */
	readonly globals: ReadonlyMap<string, Pickled>;
	/** What stands outside the pickle, by the id that the pickle has for it. */
	persistent?(id: Pickled): Pickled;
}

const MAX_BYTES = 16 * 2 ** 20;
/** Each can make one object of many bytes. A tensor takes about 40 of them, so this is room for 50,000 tensors. */
const MAX_STEPS = 2 * 2 ** 20;
const MAX_SHOWN = 100;
/** Integers with more bytes than this are no sizes. */
const MAX_INTEGER_BYTES = 32;

/** @throws SaeError for what is damaged, too long, or asks for anything that the rules don't have. */
export function readPickle(bytes: Uint8Array, rules: PickleRules): Pickled {
	if (bytes.length > MAX_BYTES) {
		throw new SaeError(`${rules.name}: is a pickle of ${bytes.length} bytes; at most ${MAX_BYTES} are read`);
	}
	return new Machine(bytes, rules).run();
}

class Machine {
	readonly #bytes: Uint8Array;
	readonly #view: DataView;
	readonly #rules: PickleRules;
	readonly #stack: Pickled[] = [];
	/** Heights of the stack at its marks. */
	readonly #marks: number[] = [];
	readonly #memo = new Map<number, Pickled>();
	#at = 0;

	constructor(bytes: Uint8Array, rules: PickleRules) {
		this.#bytes = bytes;
		this.#view = new DataView(bytes.buffer, bytes.byteOffset, bytes.byteLength);
		this.#rules = rules;
	}

	run(): Pickled {
		for (let left = MAX_STEPS; left > 0; left--) {
			const opcode = String.fromCharCode(this.#byte());
			if (opcode === ".") return this.#pop();
			const step = STEPS[opcode];
			if (!step) throw this.#damaged(`it has the unknown opcode ${JSON.stringify(opcode)}`);
			step(this);
		}
		throw new SaeError(
			`${this.#rules.name}: is a pickle of more than ${MAX_STEPS} steps, which no file of weights needs`,
		);
	}

	#damaged(why: string): SaeError {
		return new SaeError(`${this.#rules.name}: is not a sound pickle: ${why} (byte ${this.#at})`);
	}

	refuse(what: string): SaeError {
		return new SaeError(
			`${this.#rules.name}: asks for ${shown(what)}, which is never done for a file; only tensors and plain data are read (torch.save a state_dict(), or save safetensors)`,
		);
	}

	#take(length: number): Uint8Array {
		if (!(length >= 0 && this.#at + length <= this.#bytes.length)) {
			throw this.#damaged(`${length} bytes should follow; it is cut off or damaged`);
		}
		this.#at += length;
		return this.#bytes.subarray(this.#at - length, this.#at);
	}

	#byte(): number {
		return this.#take(1)[0]!;
	}

	/** An unsigned little-endian integer of 1, 2, 4 or 8 bytes. */
	size(bytes: 1 | 2 | 4 | 8): number {
		const start = this.#at;
		this.#take(bytes);
		if (bytes === 1) return this.#view.getUint8(start);
		if (bytes === 2) return this.#view.getUint16(start, true);
		return bytes === 4 ? this.#view.getUint32(start, true) : Number(this.#view.getBigUint64(start, true));
	}

	int32(): number {
		this.#take(4);
		return this.#view.getInt32(this.#at - 4, true);
	}

	float64(): number {
		this.#take(8);
		return this.#view.getFloat64(this.#at - 8);
	}

	/** Two's complement, little-endian. */
	integer(length: number): number | bigint {
		if (length > MAX_INTEGER_BYTES) throw this.#damaged(`it has an integer of ${length} bytes`);
		let value = 0n;
		const bytes = this.#take(length);
		for (let i = length - 1; i >= 0; i--) value = (value << 8n) | BigInt(bytes[i]!);
		return plainInteger(BigInt.asIntN(length * 8, value));
	}

	text(length: number): string {
		return new TextDecoder().decode(this.#take(length));
	}

	bytes(length: number): Uint8Array {
		return this.#take(length).slice();
	}

	/** Up to the end of the line. */
	line(): string {
		const end = this.#bytes.indexOf(10, this.#at);
		if (end < 0) throw this.#damaged("a line has no end");
		const text = this.text(end - this.#at);
		this.#at = end + 1;
		return text;
	}

	/** A number of protocol 0. */
	number(parse: (text: string) => number | bigint): number | bigint {
		const text = this.line();
		if (text.length > 2 * MAX_INTEGER_BYTES) throw this.#damaged("a number is too long");
		const value = parse(text);
		if (typeof value === "number" && Number.isNaN(value) && text !== "nan") {
			throw this.#damaged(`"${shown(text)}" is no number`);
		}
		return value;
	}

	push(value: Pickled): void {
		this.#stack.push(value);
	}

	#pop(): Pickled {
		return this.pop(1)[0];
	}

	/** The topmost values, those below them first. */
	pop(count: number): Pickled[] {
		const floor = this.#marks.at(-1) ?? 0;
		if (this.#stack.length - count < floor) throw this.#damaged("it takes more from the stack than there is");
		return this.#stack.splice(this.#stack.length - count, count);
	}

	#top(): Pickled {
		if (this.#stack.length === 0) throw this.#damaged("its stack is empty");
		return this.#stack[this.#stack.length - 1];
	}

	duplicate(): void {
		this.push(this.#top());
	}

	mark(): void {
		this.#marks.push(this.#stack.length);
	}

	/** Everything above the last mark, which goes. */
	toMark(): Pickled[] {
		const mark = this.#marks.pop();
		if (mark === undefined) throw this.#damaged("a mark is missing");
		return this.#stack.splice(mark);
	}

	remember(key: number = this.#memo.size): void {
		this.#memo.set(key, this.#top());
	}

	recall(key: number): void {
		if (!this.#memo.has(key)) throw this.#damaged(`it recalls ${key}, which it never remembered`);
		this.push(this.#memo.get(key));
	}

	append(values: readonly Pickled[]): void {
		const list = this.#top();
		if (!Array.isArray(list)) throw this.#damaged("it appends to something that is no list");
		for (const value of values) list.push(value);
	}

	assign(pairs: readonly Pickled[]): void {
		const dictionary = this.#top();
		if (!(dictionary instanceof Map))
			throw this.#damaged("it sets an item of something that is no dictionary");
		if (pairs.length % 2 !== 0) throw this.#damaged("a key has no value");
		for (let i = 0; i < pairs.length; i += 2) dictionary.set(pairs[i], pairs[i + 1]);
	}

	name(module: Pickled, name: Pickled): void {
		if (typeof module !== "string" || typeof name !== "string") {
			throw this.#damaged("it asks for something by what is no name");
		}
		const key = `${module} ${name}`;
		if (!this.#rules.globals.has(key)) throw this.refuse(`${module}.${name}`);
		this.push(this.#rules.globals.get(key));
	}

	call(): void {
		const [callee, args] = this.pop(2);
		if (!(callee instanceof Callable) || !Array.isArray(args)) {
			throw this.#damaged("it calls something that is no function");
		}
		try {
			this.push(callee.call(args));
		} catch (error) {
			throw isSaeError(error) ? new SaeError(`${this.#rules.name}: ${error.message}`) : error;
		}
	}

	/** Attributes of dictionaries, as of an OrderedDict's `_metadata`, say nothing here; nothing else may have any. */
	build(): void {
		this.#pop();
		if (!(this.#top() instanceof Map)) throw this.refuse("setting the state of an object");
	}

	persistent(id: Pickled): void {
		if (!this.#rules.persistent) throw this.refuse("an object outside the file");
		this.push(this.#rules.persistent(id));
	}
}

/** A file's own words in a message: few, and none that a terminal would obey. */
function shown(text: string): string {
	const short = text.length > MAX_SHOWN ? `${text.slice(0, MAX_SHOWN)}…` : text;
	return short.replace(/\p{C}/gu, "\ufffd");
}

function plainInteger(value: bigint): number | bigint {
	return value >= Number.MIN_SAFE_INTEGER && value <= Number.MAX_SAFE_INTEGER ? Number(value) : value;
}

function decimal(text: string): number | bigint {
	return /^-?\d+L?$/.test(text) ? plainInteger(BigInt(text.replace("L", ""))) : Number.NaN;
}

/** Text of protocol 0 in quotes; escapes are left as they are. */
function unquoted(text: string): string {
	return text.replace(/^(['"])(.*)\1$/, "$2");
}

type Step = (machine: Machine) => void;

/** By the opcode's character. Those that call by other ways than REDUCE, and the registry's extensions, are left out. */
const STEPS: Readonly<Record<string, Step>> = {
	"\x80": (m) => m.size(1),
	"\x95": (m) => m.size(8),
	"(": (m) => m.mark(),
	"0": (m) => m.pop(1),
	"1": (m) => m.toMark(),
	"2": (m) => m.duplicate(),
	p: (m) => m.remember(Number(m.number(decimal))),
	q: (m) => m.remember(m.size(1)),
	r: (m) => m.remember(m.size(4)),
	"\x94": (m) => m.remember(),
	g: (m) => m.recall(Number(m.number(decimal))),
	h: (m) => m.recall(m.size(1)),
	j: (m) => m.recall(m.size(4)),
	N: (m) => m.push(null),
	"\x88": (m) => m.push(true),
	"\x89": (m) => m.push(false),
	// "00" and "01" are False and True.
	I: (m) => m.push(m.number(decimal)),
	L: (m) => m.push(m.number(decimal)),
	F: (m) => m.push(m.number(Number)),
	G: (m) => m.push(m.float64()),
	J: (m) => m.push(m.int32()),
	K: (m) => m.push(m.size(1)),
	M: (m) => m.push(m.size(2)),
	"\x8a": (m) => m.push(m.integer(m.size(1))),
	"\x8b": (m) => m.push(m.integer(m.size(4))),
	S: (m) => m.push(unquoted(m.line())),
	V: (m) => m.push(m.line()),
	T: (m) => m.push(m.text(m.size(4))),
	U: (m) => m.push(m.text(m.size(1))),
	X: (m) => m.push(m.text(m.size(4))),
	"\x8c": (m) => m.push(m.text(m.size(1))),
	"\x8d": (m) => m.push(m.text(m.size(8))),
	B: (m) => m.push(m.bytes(m.size(4))),
	C: (m) => m.push(m.bytes(m.size(1))),
	"\x8e": (m) => m.push(m.bytes(m.size(8))),
	"\x96": (m) => m.push(m.bytes(m.size(8))),
	")": (m) => m.push([]),
	t: (m) => m.push(m.toMark()),
	"\x85": (m) => m.push(m.pop(1)),
	"\x86": (m) => m.push(m.pop(2)),
	"\x87": (m) => m.push(m.pop(3)),
	"]": (m) => m.push([]),
	l: (m) => m.push(m.toMark()),
	a: (m) => m.append(m.pop(1)),
	e: (m) => m.append(m.toMark()),
	"}": (m) => m.push(new Map()),
	d: (m) => {
		const pairs = m.toMark();
		m.push(new Map());
		m.assign(pairs);
	},
	s: (m) => m.assign(m.pop(2)),
	u: (m) => m.assign(m.toMark()),
	"\x8f": (m) => m.push([]),
	"\x90": (m) => m.append(m.toMark()),
	"\x91": (m) => m.push(m.toMark()),
	c: (m) => {
		const module = m.line();
		m.name(module, m.line());
	},
	"\x93": (m) => {
		const [module, name] = m.pop(2);
		m.name(module, name);
	},
	R: (m) => m.call(),
	b: (m) => m.build(),
	P: (m) => m.persistent(m.line()),
	Q: (m) => m.persistent(m.pop(1)[0]),
	i: (m) => {
		throw m.refuse(`an object of ${m.line()}.${m.line()}`);
	},
	o: (m) => {
		throw m.refuse("an object of a class");
	},
	"\x81": (m) => {
		throw m.refuse("an object of a class");
	},
	"\x92": (m) => {
		throw m.refuse("an object of a class");
	},
};
