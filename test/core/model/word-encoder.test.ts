/** Ids that come word by word are the library's. */
import { describe, expect, test } from "bun:test";
import { join } from "node:path";
import * as library from "@huggingface/tokenizers";
import { splitter } from "../../../core/model/splitter.ts";
import { wordEncoder } from "../../../core/model/word-encoder.ts";
import { WordTable } from "../../../core/model/word-table.ts";
import { randomStream } from "../../reference/models.ts";

const DEMO = join(import.meta.dir, "../../../demo/data");
const gpt2 = await Bun.file(join(DEMO, "model", "tokenizer.json")).json();
const prose = (await Bun.file(join(DEMO, "held-out.txt")).text()).slice(0, 60_000);

const added = (content: string, id: number, more = {}) => ({ content, id, special: true, ...more });
const bytes = (use_regex: boolean) => ({ type: "ByteLevel", add_prefix_space: false, use_regex });
const split = (Regex: string, more = {}) => ({
	type: "Split",
	pattern: { Regex },
	behavior: "Isolated",
	invert: false,
	...more,
});
const sequence = (...pretokenizers: object[]) => ({ type: "Sequence", pretokenizers });
/** As Llama 3 and Qwen have it. */
const WORDS =
	"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\\r\\n\\p{L}\\p{N}]?\\p{L}+|\\p{N}{1,3}| ?[^\\s\\p{L}\\p{N}]+[\\r\\n]*|\\s*[\\r\\n]+|\\s+(?!\\S)|\\s+";

/** Merges as Llama 2's and Gemma's: of one word, but for one that has a space behind a `>`. */
const spaced = (() => {
	const merges = [
		"t h",
		"th e",
		"▁ the",
		"▁ a",
		"▁ ▁",
		"▁▁ ▁▁",
		"a n",
		"an d",
		"▁ and",
		"< /",
		"▁ </",
		"> ▁</",
	];
	const tokens = ["<unk>", ..."▁abcdehnt</>.\n", ...merges.map((merge) => merge.replace(" ", ""))];
	const names = Array.from({ length: 256 }, (_, byte) => byte.toString(16).toUpperCase().padStart(2, "0"));
	const all = [...tokens, ...names.map((name) => `<0x${name}>`)];
	const vocab = Object.fromEntries(all.map((token, id) => [token, id]));
	return {
		added_tokens: [added("<unk>", 0)],
		normalizer: { type: "Replace", pattern: { String: " " }, content: "▁" },
		pre_tokenizer: null,
		post_processor: null,
		decoder: null,
		model: { type: "BPE", vocab, merges, unk_token: "<unk>", byte_fallback: true, fuse_unk: true },
	};
})();
const llama2 = [
	{ type: "Prepend", prepend: "▁" },
	{ type: "Replace", pattern: { String: " " }, content: "▁" },
];

const TOKENIZERS: Record<string, object> = {
	"GPT-2's": gpt2,
	"Llama 3's": {
		...gpt2,
		pre_tokenizer: sequence(split(WORDS), bytes(false)),
		model: { ...gpt2.model, ignore_merges: true },
		added_tokens: [added("<|endoftext|>", 0), added("<|end|>", 1536), added("<|end", 1537)],
	},
	"Qwen's": { ...gpt2, normalizer: { type: "NFC" }, pre_tokenizer: sequence(split(WORDS), bytes(false)) },
	"NeoX's, with spaces for tokens": {
		...gpt2,
		normalizer: { type: "NFC" },
		added_tokens: [
			added("<|endoftext|>", 0),
			added("  ", 1536, { special: false, normalized: true }),
			added("   ", 1537, { special: false, normalized: true }),
		],
	},
	"one that cuts digits first": {
		...gpt2,
		pre_tokenizer: sequence({ type: "Digits", individual_digits: true }, bytes(true)),
	},
	"one whose pattern leaves gaps and matches nothing at all": {
		...gpt2,
		pre_tokenizer: sequence(split("[a-m]*"), bytes(false)),
	},
	"one whose pattern is what is kept": {
		...gpt2,
		pre_tokenizer: sequence(split("[a-z ]+", { invert: true }), bytes(false)),
	},
	"one that drops spaces": {
		...gpt2,
		pre_tokenizer: sequence(split(" ", { behavior: "Removed" }), bytes(false)),
	},
	"one that begins with a space": { ...gpt2, pre_tokenizer: { ...bytes(true), add_prefix_space: true } },
	"one whose added tokens take the spaces beside them": {
		...gpt2,
		added_tokens: [
			added("<|endoftext|>", 0, { lstrip: true }),
			added("the", 1536, { rstrip: true, lstrip: true, normalized: true }),
		],
	},
	"Llama 2's": { ...spaced, normalizer: { type: "Sequence", normalizers: llama2 } },
	"Llama 2's, with an added token that takes all space": {
		...spaced,
		normalizer: { type: "Sequence", normalizers: llama2 },
		added_tokens: [added("<unk>", 0, { lstrip: true, rstrip: true })],
	},
	"Gemma's": spaced,
	"one of words with an end of their own": {
		...spaced,
		pre_tokenizer: { type: "Metaspace", replacement: "▁", prepend_scheme: "first" },
		model: { ...spaced.model, end_of_word_suffix: "." },
	},
};

const ODD = [
	..."a, ,  ,\r\n,a\r\n\r\nb \r\n , \u00a0 x,\ufeffx,👩‍👩‍👧‍👦 x 🏳️‍🌈,\ud83d,x\udc00y \ud83d ,日本語。漢字,e\u0301 é,▁,▁▁a▁ ▁".split(
		",",
	),
	...["don't I'LL 's 'S ſ", "\0\x01\x7f", "1234567890 12.5%", "constructor __proto__", "the> </the> <a>▁</"],
	...["<|endoftext|><|endoftext|> x <|endoftext|>y", "<unk><unk> <unk>", "<0x41>", "<|end <|endof <|end|>"],
	...["a".repeat(700), " ".repeat(300), "\n".repeat(300), "and ".repeat(100), ""],
];
const PIECES = [
	..." ▁\n\t.<>/'19é日Ωa",
	"  ",
	"\r\n",
	"the",
	"and",
	"'s",
	"👍",
	"\ud83d",
	"\u0301",
	"<|endoftext|>",
	"<unk>",
];

function texts(): string[] {
	const random = randomStream(7);
	const pick = () => PIECES[Math.floor(random() * PIECES.length)]!;
	const mixed = Array.from({ length: 500 }, () => Array.from({ length: random() * 24 }, pick).join(""));
	return [...ODD, ...mixed, prose, prose.slice(20_000, 21_000)];
}

describe.each(Object.entries(TOKENIZERS))("%s", (_, content) => {
	test("gives the library's ids", () => {
		const encode = wordEncoder(library, new library.Tokenizer(content, {}))!;
		const reference = new library.Tokenizer(content, {});
		for (const text of texts()) {
			const { ids } = reference.encode(text, { add_special_tokens: false });
			expect({ text, ids: [...encode(text)] }).toEqual({ text, ids });
		}
	});
});

test("what may depend on other words is left to the library", () => {
	const { byte_fallback, ...model } = spaced.model;
	for (const [content, settings] of [
		// Unknown tokens beside each other become one.
		[{ ...spaced, model }, {}],
		[gpt2, { remove_space: true }],
		[gpt2, { do_lowercase_and_remove_accent: true }],
		[{ ...gpt2, model: { type: "WordPiece", vocab: gpt2.model.vocab, unk_token: "a" } }, {}],
	] as const) {
		expect(wordEncoder(library, new library.Tokenizer(content, settings))).toBeUndefined();
	}
});

test("a table of words that is full starts over", () => {
	let asked = 0;
	const idsOf = (word: string) => {
		asked++;
		return [Number(word), word.length];
	};
	const table = new WordTable(idsOf);
	const numbers = (from: number, to: number) => {
		table.begin();
		for (let number = from; number < to; number++) table.word(`x${number} `, 1, String(number).length + 1);
		return [...table.ids()];
	};
	const expected = (from: number, to: number) =>
		Array.from({ length: to - from }, (_, i) => [from + i, String(from + i).length]).flat();
	expect(numbers(0, 1000)).toEqual(expected(0, 1000));
	expect(numbers(0, 1000)).toEqual(expected(0, 1000));
	expect(asked).toBe(1000);
	expect(numbers(0, 150_000)).toEqual(expected(0, 150_000));
	// They were there before it was full.
	expect(numbers(100_000, 101_000)).toEqual(expected(100_000, 101_000));
	expect(asked).toBe(151_000);
});

test("a text is cut around the longest words that begin first", () => {
	const cut = splitter(["ab", "abc", "b", "]-^\\", "👍"]);
	expect(cut("xabcbab]-^\\y👍👎ac")).toEqual(["x", "abc", "b", "ab", "]-^\\", "y", "👍", "👎ac"]);
	expect(cut("")).toEqual([]);
	expect(splitter([])("abc")).toEqual(["abc"]);
});
