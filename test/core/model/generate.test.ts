/** Generation with a cache against whole passes, and what seeds, temperature and top-k do. */
import { afterAll, beforeAll, expect, test } from "bun:test";
import { mkdtemp, rm } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { type Gpu, openGpu } from "../../../core/gpu/device.ts";
import { editCodes, parseEdit } from "../../../core/model/edits.ts";
import {
	drawToken,
	type GenerateOptions,
	generate,
	type PositionChange,
} from "../../../core/model/generate.ts";
import { finalRows } from "../../../core/model/losses.ts";
import { openTransformer } from "../../../core/model/open.ts";
import { placeSae, spliceHooks } from "../../../core/model/splice.ts";
import type { Transformer } from "../../../core/model/transformer.ts";
import { openSae } from "../../../core/open-sae.ts";
import { randomTopK } from "../../reference/models.ts";
import { CONFIGS, randomWeights, writeModel } from "../../reference/random-model.ts";

const PROMPTS = [Uint32Array.of(3, 14, 15, 9), Uint32Array.of(26, 5)];
const GREEDY: GenerateOptions = { tokens: 7, temperature: 0, seed: 0, stop: new Set() };

let gpu: Gpu;
let folder: string;
let cached: Transformer;
let whole: Transformer;
beforeAll(async () => {
	gpu = await openGpu();
	folder = await mkdtemp(join(tmpdir(), "sae-generate-"));
	const path = await writeModel(folder, CONFIGS.llama, randomWeights(CONFIGS.llama));
	cached = await openTransformer(path, { gpu, slots: 2, context: 16 });
	whole = await openTransformer(path, { gpu });
});
afterAll(async () => {
	cached.close();
	whole.close();
	gpu.close();
	await rm(folder, { recursive: true });
});

test("the cache gives what whole passes give, with an SAE in them too", async () => {
	const sae = randomTopK(20, 48, 5, 2);
	const runtime = await openSae(sae, { gpu });
	const placed = { ...placeSae(whole.spec, sae, "blocks.0.hook_resid_post"), model: sae, runtime };
	const edits = [parseEdit("clamp", "9=-4@3-")];
	const spliced =
		(model: Transformer): PositionChange =>
		(positions) =>
			spliceHooks(model, [{ sae: placed, options: { edit: (codes) => editCodes(codes, edits, positions) } }]);
	const texts: number[][][] = [];
	for (const change of [() => () => new Map(), spliced] as const) {
		const slow = PROMPTS.map((prompt) => [...prompt]);
		for (const text of slow) {
			for (let step = 0; step < GREEDY.tokens; step++) {
				const batch = { tokens: Uint32Array.from(text), sequences: [{ length: text.length }] };
				const final = await finalRows(whole, batch, change(whole)(Uint32Array.from(text.keys())));
				const [logits] = await whole.head!.read(final, [text.length - 1]);
				text.push(logits!.indexOf(Math.max(...logits!)));
			}
		}
		const wanted = slow.map((text, i) => text.slice(PROMPTS[i]!.length));
		const found = await generate(cached, PROMPTS, GREEDY, change(cached));
		expect(found.map((tokens) => [...tokens])).toEqual(wanted);
		texts.push(wanted);
	}
	expect(texts[0]).not.toEqual(texts[1]);
	runtime.close();
});

test("a seed says what is drawn, for each prompt by itself", async () => {
	const draw = async (seed: number, prompts = PROMPTS) => {
		const options = { ...GREEDY, temperature: 2, topK: 10, seed };
		return (await generate(cached, prompts, options)).map((tokens) => [...tokens]);
	};
	const first = await draw(1);
	expect(await draw(1)).toEqual(first);
	expect(await draw(2)).not.toEqual(first);
	expect(await draw(1, [PROMPTS[0]!])).toEqual([first[0]!]);
	const twice = await draw(1, [PROMPTS[0]!, PROMPTS[0]!]);
	expect(twice[0]).not.toEqual(twice[1]);
});

test("a stop token ends its text alone", async () => {
	const [first, second] = await generate(cached, PROMPTS, GREEDY);
	const stop = new Set([first![2]!]);
	const [ended, other] = await generate(cached, PROMPTS, { ...GREEDY, stop });
	const until = (tokens: Uint32Array) => {
		const at = tokens.findIndex((token) => stop.has(token));
		return [...(at < 0 ? tokens : tokens.subarray(0, at))];
	};
	expect([...ended!]).toEqual(until(first!));
	expect([...other!]).toEqual(until(second!));
});

test("what leaves no room is refused", async () => {
	await expect(generate(cached, PROMPTS, { ...GREEDY, tokens: 13 })).rejects.toThrow(
		"a prompt of 4 tokens and 13 new ones: 16 positions are possible",
	);
	await expect(generate(cached, [new Uint32Array()], GREEDY)).rejects.toThrow("a prompt has no tokens");
});

test("tokens are drawn as often as their share", () => {
	const logits = Float32Array.of(0, Math.log(3), -5, Math.log(2));
	const counts = (topK: number, temperature = 1) => {
		const found = [0, 0, 0, 0];
		for (let i = 0; i < 600; i++) found[drawToken(logits, { temperature, topK }, (i + 0.5) / 600)]!++;
		return found;
	};
	expect(counts(3)).toEqual([100, 300, 0, 200]);
	expect(counts(2)).toEqual([0, 360, 0, 240]);
	// At half the temperature odds are squared: 1 to 9 to 4.
	expect(counts(3, 0.5)).toEqual([43, 386, 0, 171]);
	expect(counts(4, 0)).toEqual([0, 600, 0, 0]);
});
