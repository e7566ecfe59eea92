/** The reader of pickles: what CPython writes, and what nobody should load. */
import { describe, expect, test } from "bun:test";
import { SaeError } from "../../../core/errors.ts";
import { Callable, readPickle } from "../../../core/files/pickle.ts";

const bytes = (text: string) => Uint8Array.from(text, (letter) => letter.charCodeAt(0));
const read = (text: string, globals: readonly (readonly [string, unknown])[] = []) =>
	readPickle(bytes(text), { name: "x.pt", globals: new Map(globals) });

/** {"a": [1, -2, 70000, 2**40, 1.5, None, True, False], "é": ("x", b"y"), 3: {}}, dumped by CPython 3.11. */
const DUMPED = {
	0: "(dp0\nVa\np1\n(lp2\nI1\naI-2\naI70000\naL1099511627776L\naF1.5\naNaI01\naI00\nasV\xe9\np3\n(Vx\np4\nVy\np5\ntp6\nsI3\n(dp7\ns.",
	2: "\x80\x02}q\x00(X\x01\x00\x00\x00aq\x01]q\x02(K\x01J\xfe\xff\xff\xffJp\x11\x01\x00\x8a\x06\x00\x00\x00\x00\x00\x01G?\xf8\x00\x00\x00\x00\x00\x00N\x88\x89eX\x02\x00\x00\x00\xc3\xa9q\x03X\x01\x00\x00\x00xq\x04X\x01\x00\x00\x00yq\x05\x86q\x06K\x03}q\x07u.",
	4: "\x80\x04\x95@\x00\x00\x00\x00\x00\x00\x00}\x94(\x8c\x01a\x94]\x94(K\x01J\xfe\xff\xff\xffJp\x11\x01\x00\x8a\x06\x00\x00\x00\x00\x00\x01G?\xf8\x00\x00\x00\x00\x00\x00N\x88\x89e\x8c\x02\xc3\xa9\x94\x8c\x01x\x94\x8c\x01y\x94\x86\x94K\x03}\x94u.",
};

describe("plain data", () => {
	test.each([2, 4] as const)("of protocol %i", (protocol) => {
		const value = read(DUMPED[protocol]) as Map<unknown, unknown>;
		expect([...value.keys()]).toEqual(["a", "é", 3]);
		expect(value.get("a")).toEqual([1, -2, 70000, 2 ** 40, 1.5, null, true, false]);
		expect(value.get("é")).toEqual(["x", "y"]);
		expect(value.get(3)).toEqual(new Map());
	});

	test("of protocol 0", () => {
		const value = read(DUMPED[0]) as Map<unknown, unknown>;
		expect(value.get("a")).toEqual([1, -2, 70000, 2 ** 40, 1.5, null, 1, 0]);
		expect(value.get(3)).toEqual(new Map());
	});

	test("negative and long integers", () => {
		expect(read("\x8a\x01\xff.")).toBe(-1);
		expect(read("\x8a\x09\x00\x00\x00\x00\x00\x00\x00\x80\x00.")).toBe(2n ** 63n);
	});

	test("keys that mean something to JavaScript are keys", () => {
		const value = read("}X\x09\x00\x00\x00__proto__}X\x08\x00\x00\x00polluted\x88ss.") as Map<
			string,
			unknown
		>;
		expect([...value.keys()]).toEqual(["__proto__"]);
		expect(({} as { polluted?: boolean }).polluted).toBeUndefined();
	});

	test("what the table names is called, with its arguments", () => {
		const sum = new Callable((args) => (args as number[]).reduce((a, b) => a + b));
		expect(read("cmath\nsum\n(K\x01K\x02K\x03tR.", [["math sum", sum]])).toBe(6);
	});
});

describe("refuses", () => {
	test.each([
		["os.system", "cposix\nsystem\nX\x02\x00\x00\x00id\x85R.", "asks for posix.system, which is never done"],
		["builtins.eval", "\x80\x04\x8c\x08builtins\x8c\x04eval\x93\x8c\x011\x85R.", "asks for builtins.eval"],
		[
			"a method of JavaScript's objects",
			"cconstructor\nconstructor\n)R.",
			"asks for constructor.constructor",
		],
		["objects of classes", "(K\x01ios\nsystem\n.", "asks for an object of os.system"],
		["new objects", "NN\x81.", "asks for an object of a class"],
		["new objects with keywords", "NNN\x92.", "asks for an object of a class"],
		["objects by their class on the stack", "(No.", "asks for an object of a class"],
		["calls of data", "])R.", "calls something that is no function"],
		["state of what has none", "]}b.", "asks for setting the state of an object"],
		["objects outside the file", "K\x01Q.", "asks for an object outside the file"],
		["registered extensions", "\x82\x01.", "unknown opcode"],
		["buffers outside the file", "\x97.", "unknown opcode"],
		["an empty stack", ".", "takes more from the stack than there is"],
		["a mark that is missing", "t.", "a mark is missing"],
		["a memory that is none", "h\x05.", "recalls 5"],
		["values below a mark", "K\x01(\x85.", "takes more from the stack"],
		["an end that is missing", "K\x01", "is cut off"],
		["text longer than the file", "X\xff\xff\xff\xffa.", "4294967295 bytes should follow"],
		["bytes longer than any file", "\x8e\xff\xff\xff\xff\xff\xff\xff\xff.", "bytes should follow"],
		["integers without end", "\x8b\xff\xff\xff\x7f.", "an integer of 2147483647 bytes"],
		["long numbers", `I${"1".repeat(100)}\n.`, "a number is too long"],
		["numbers that are none", "Ione\n.", '"one" is no number'],
		["keys without values", "}(K\x01u.", "a key has no value"],
		["items of numbers", "K\x01K\x02K\x03s.", "no dictionary"],
		["appending to numbers", "K\x01K\x02a.", "no list"],
	])("%s", (_, text, message) => {
		const attempt = () => read(text);
		expect(attempt).toThrow(SaeError);
		expect(attempt).toThrow(message);
		expect(attempt).toThrow(/^x\.pt: [^\n]*$/);
	});

	test("pickles of many megabytes, before anything of them is made", () => {
		const huge = new Uint8Array(17 * 2 ** 20).fill("]".charCodeAt(0));
		expect(() => readPickle(huge, { name: "x.pt", globals: new Map() })).toThrow("at most 16777216 are read");
	});

	test("names that are lists of lists, before they are made text", () => {
		const nested = `K\x01q\x00${"(h\x00h\x00h\x00h\x00h\x00h\x00h\x00h\x00h\x00h\x00tq\x00".repeat(60)}`;
		expect(() => read(`${nested}h\x00h\x00\x93.`)).toThrow("asks for something by what is no name");
	});

	test("what a terminal would obey in a name, and long ones", () => {
		const attempt = () => read(`c\x1b[2J${"a".repeat(500)}\nb\n.`);
		expect(attempt).toThrow(/^x\.pt: asks for \ufffd\[2Ja{96}…, which/);
	});

	test("more steps than a file of weights takes", () => {
		expect(() => read(`(${"]".repeat(3_000_000)}l.`)).toThrow("more than 2097152 steps");
	});

	test("nesting costs neither the stack nor much time", () => {
		const deep = `${"]".repeat(200_000)}${"a".repeat(199_999)}.`;
		expect(Array.isArray(read(deep))).toBe(true);
	});
});
