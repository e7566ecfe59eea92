import { expect, test } from "bun:test";
import { contextsOf, windowsOf } from "../../../core/model/text/contexts.ts";

const PARTS = [0, 1, 2].map((index) => ({ index, count: 3 }));
const letters = { encode: (text: string) => Uint32Array.from(text, (letter) => letter.charCodeAt(0)) };

type Contexts = AsyncIterable<{ readonly tokens: Uint32Array; readonly documents: Uint32Array }>;

/** Each token with its document, in order of documents. */
async function tokensOf(...all: readonly Contexts[]): Promise<string[]> {
	const tokens: string[] = [];
	for (const contexts of all) {
		for await (const { tokens: ids, documents } of contexts) {
			for (const [i, id] of ids.entries()) tokens.push(`${documents[i]}:${id}`);
		}
	}
	return tokens.toSorted((a, b) => Number.parseInt(a, 10) - Number.parseInt(b, 10));
}

test.each([true, false])("parts of the documents hold each token once (packed %p)", async (pack) => {
	async function* texts() {
		yield* ["abcdefg", "", "hi", "jklmnopqrs", "t"];
	}
	const contexts = (part?: (typeof PARTS)[number]) =>
		contextsOf(texts(), letters, { length: 4, bos: undefined, separator: 0, pack, part });
	const whole = await tokensOf(contexts());
	expect(whole.length).toBe(24);
	expect(await tokensOf(...PARTS.map(contexts))).toEqual(whole);
	for (const part of PARTS) {
		for (const token of await tokensOf(contexts(part))) {
			expect(Number.parseInt(token, 10) % 3).toBe(part.index);
		}
	}
});

test("so do parts of ready-made token ids", async () => {
	async function* rows() {
		for (let document = 0; document < 5; document++) {
			yield { tokens: Uint32Array.from({ length: document + 2 }, (_, i) => 1 + i), document };
		}
	}
	const whole = await tokensOf(windowsOf(rows(), 3, undefined));
	expect(whole.length).toBe(20);
	expect(await tokensOf(...PARTS.map((part) => windowsOf(rows(), 3, undefined, part)))).toEqual(whole);
	expect(await tokensOf(windowsOf(rows(), 3, undefined, PARTS[2]))).toEqual(["2:1", "2:2", "2:3", "2:4"]);
});

test.each([
	[0, ["0:5", "0:6", "2:7", "2:9", "2:8"]],
	// Padding that is BOS or EOS too: one at each end may be what it says.
	[1, ["0:9", "0:5", "0:6", "0:9", "2:7", "2:9", "2:8", "2:9"]],
] as const)("padding at the ends of rows is left out, but for %p", async (kept, wanted) => {
	async function* rows() {
		for (const [document, ids] of [
			[9, 9, 5, 6, 9, 9],
			[9, 9, 9],
			[7, 9, 8, 9],
		].entries()) {
			yield { tokens: Uint32Array.from(ids), document };
		}
	}
	const contexts = await Array.fromAsync(windowsOf(rows(), 8, { token: 9, kept }));
	const found = contexts.flatMap(({ tokens, documents }) =>
		[...tokens].map((id, i) => `${documents[i]}:${id}`),
	);
	expect(found).toEqual([...wanted]);
});
