import { describe, expect, test } from "bun:test";
import { join } from "node:path";
import { tokenTexts } from "../../../core/features/pieces.ts";
import { openTokenizer } from "../../../core/model/folder.ts";

/** Tokens are bytes. */
const bytes = (ids: readonly number[]) => new TextDecoder().decode(Uint8Array.from(ids));

describe("tokens that are parts of characters", () => {
	const { row, one } = tokenTexts(bytes);
	const tokens = (text: string) => Uint32Array.from(new TextEncoder().encode(text));

	test("give the character to the token that is looked at, else to the first", () => {
		expect(row(tokens("aé€😀b"), 0)).toEqual(["a", "é", "", "€", "", "", "😀", "", "", "", "b"]);
		expect(row(tokens("aé€😀b"), 8)).toEqual(["a", "é", "", "€", "", "", "", "", "😀", "", "b"]);
		expect(row(tokens("aé"), 2)).toEqual(["a", "", "é"]);
	});

	test("stay what they are where the character is cut off", () => {
		expect(row(tokens("é€").subarray(1, 4), 0)).toEqual(["\ufffd", "\ufffd", "\ufffd"]);
		expect(one(0xc3)).toBe("\ufffd");
		expect(one(0x61)).toBe("a");
	});
});

test("a space that decoding drops at the beginning is kept", () => {
	const words = [" the", " cat", "s", " sat"];
	const { row, one } = tokenTexts((ids) =>
		ids
			.map((id) => words[id]!)
			.join("")
			.replace(/^ /, ""),
	);
	expect(row(Uint32Array.of(0, 1, 2, 3), 0)).toEqual(words);
	expect(one(3)).toBe(" sat");
});

test("a tokenizer's pieces joined are the text", async () => {
	const tokenizer = await openTokenizer(join(import.meta.dir, "../../../demo/data/model"));
	const { row } = tokenTexts((ids) => tokenizer.decode(ids));
	const text = "It was — naïve, so to speak — the café of 東京 😀!";
	const tokens = tokenizer.encode(text);
	expect(row(tokens, 0).join("")).toBe(text);
	expect(row(tokens, tokens.length - 2).join("")).toBe(text);
});
