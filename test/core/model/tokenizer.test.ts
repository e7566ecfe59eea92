/** Tokenizers give the ids that their models were trained with. */
import { expect, test } from "bun:test";
import { existsSync } from "node:fs";
import { mkdtemp, rm } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { toUint32 } from "../../../core/files/dtype.ts";
import { openSafetensors } from "../../../core/files/safetensors.ts";
import { openTokenizer } from "../../../core/model/index.ts";

const DEMO = join(import.meta.dir, "../../../demo/data");

async function stored(path: string, name: string): Promise<number[]> {
	const file = await openSafetensors(path);
	const { shape, dtype } = file.tensors.get(name)!;
	const bytes = await file.readElements(
		name,
		0,
		shape.reduce((product, size) => product * size, 1),
	);
	return [...toUint32(bytes, dtype as "i32", name)];
}

test("the demo's text becomes the ids that its activations are of", async () => {
	const tokenizer = await openTokenizer(join(DEMO, "model"));
	const ids = await stored(join(DEMO, "activations.safetensors"), "input_ids");
	const text = await Bun.file(join(DEMO, "held-out.txt")).text();
	// Enough text for these ids, and to spare.
	const found = tokenizer.encode(text.slice(0, 100_000));
	expect([...found.subarray(0, ids.length)]).toEqual(ids);
	expect(tokenizer.decode(found.subarray(0, 50))).toBe(
		text.slice(0, tokenizer.decode(found.subarray(0, 50)).length),
	);
	expect(tokenizer.special).toEqual(new Set([0]));
	// It has no tokenizer_config.json, which would name them.
	expect([tokenizer.bos, tokenizer.eos]).toEqual([undefined, undefined]);
	expect(tokenizer.addsBos).toBe(false);
});

test("a tokenizer whose template begins with BOS says so", async () => {
	const folder = await mkdtemp(join(tmpdir(), "sae-tokenizer-"));
	const content = await Bun.file(join(DEMO, "model", "tokenizer.json")).json();
	const bos = { id: "<|endoftext|>", ids: [0], tokens: ["<|endoftext|>"] };
	content.post_processor = {
		type: "TemplateProcessing",
		single: [{ SpecialToken: { id: bos.id, type_id: 0 } }, { Sequence: { id: "A", type_id: 0 } }],
		pair: [{ Sequence: { id: "A", type_id: 0 } }, { Sequence: { id: "B", type_id: 1 } }],
		special_tokens: { [bos.id]: bos },
	};
	await Bun.write(join(folder, "tokenizer.json"), JSON.stringify(content));
	await Bun.write(join(folder, "tokenizer_config.json"), JSON.stringify({ bos_token: { content: bos.id } }));
	const tokenizer = await openTokenizer(folder);
	expect(tokenizer.addsBos).toBe(true);
	expect(tokenizer.bos).toBe(0);
	// Nobody but the source adds it, so that it comes once per context.
	expect(tokenizer.encode("plain")[0]).not.toBe(0);
	await rm(folder, { recursive: true });
});

const TINY = join(import.meta.dir, "../../../../shared/data/tiny-lm");

for (const folder of existsSync(TINY) ? [TINY] : []) {
	test("tiny-lm's sample, id by id", async () => {
		const tokenizer = await openTokenizer(folder);
		const ids = tokenizer.encode(await Bun.file(join(folder, "sample.txt")).text());
		expect([...ids]).toEqual(await stored(join(folder, "token-ids.safetensors"), "sample_ids"));
	});
}
