/** Explanations and judgements of a scripted server that knows what latents stand for, or doesn't. */
import { afterAll, afterEach, beforeAll, describe, expect, test } from "bun:test";
import { mkdtemp, readFile, rm, truncate, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { toyFeatures, toyWord } from "../../../core/conformance/features.ts";
import { CounterRng } from "../../../core/random.ts";
import llm from "../../../plugins/interpret-llm.ts";
import { type ChatServer, chatServer, completion, type Judge, oracle } from "./chat-server.ts";
import { explain } from "./explain.ts";

const LATENTS = 12;
const FEATURES = toyFeatures(LATENTS);
const ALL = { tests: "detection,fuzzing,intruder" };

let folder: string;
let files = 0;
let server: ChatServer;
beforeAll(async () => {
	folder = await mkdtemp(join(tmpdir(), "sae-llm-"));
});
afterAll(() => rm(folder, { recursive: true }));
afterEach(() => server?.stop());

function optionsFor(judge: Judge, milliseconds = 0) {
	server = chatServer(judge, milliseconds);
	return { base_url: server.url, model: "scripted", answers: join(folder, `${files++}.jsonl`) };
}

async function scores(options: Readonly<Record<string, unknown>>, given?: Parameters<typeof explain>[3]) {
	const { said } = await explain(llm, FEATURES, options, given);
	const mean = (name: string) =>
		said!.reduce((sum, { scores }) => sum + Number(scores[name] ?? Number.NaN), 0) / said!.length;
	return { said: said!, mean };
}

describe("a judge that knows", () => {
	test("explains by what is marked, and is right in every test", async () => {
		const { said } = await scores({ ...optionsFor(oracle), ...ALL });
		for (const [latent, { explanation, source, scores: found }] of said.entries()) {
			expect(explanation).toBe(`the word${toyWord(latent)}`);
			expect(source).toBe("scripted");
			for (const kind of ["detection", "fuzzing"]) {
				for (const name of ["accuracy", "balanced_accuracy", "precision", "recall", "f1"]) {
					expect(found[`${kind}_${name}`], `${kind}_${name}`).toBe(1);
				}
				expect(found).toMatchObject({ [`${kind}_judged`]: 40, [`${kind}_failed`]: 0 });
			}
			expect(found).toMatchObject({ intruder_accuracy: 1, intruder_judged: 10, intruder_failed: 0 });
			expect(found).toMatchObject({ explanation_failed: 0 });
		}
	});

	test("finds explanations of other latents wrong", async () => {
		const options = { ...optionsFor(oracle), given: true };
		const { said, mean } = await scores(options, ({ latent }) => ({
			explanation: `the word${toyWord((latent + 1) % LATENTS)}`,
			source: "someone",
		}));
		expect(mean("detection_balanced_accuracy")).toBeLessThanOrEqual(0.5);
		expect(mean("detection_recall")).toBe(0);
		expect(mean("fuzzing_recall")).toBe(0);
		expect(said.every(({ source }) => source === "someone")).toBe(true);
		// Nothing was asked for but judgements.
		expect(server.requests.every(({ messages }) => !JSON.stringify(messages).includes("EXPLANATION:"))).toBe(
			true,
		);
	});
});

test("a judge that guesses is right half the time, and a fifth in line-ups", async () => {
	const random = new CounterRng(5);
	const guess: Judge = (question, number) => {
		if (question.kind === "explain") return "EXPLANATION: anything";
		if (question.kind === "intruder") return String(1 + Math.floor(5 * random.uniform(number)));
		return JSON.stringify(question.passages.map((_, i) => (random.uniform(1000 * number + i) < 0.5 ? 1 : 0)));
	};
	const { mean } = await scores({ ...optionsFor(guess), ...ALL });
	// 480 judgements and 120 line-ups: four standard errors.
	expect(Math.abs(mean("detection_accuracy") - 0.5)).toBeLessThan(0.1);
	expect(Math.abs(mean("fuzzing_accuracy") - 0.5)).toBeLessThan(0.1);
	expect(Math.abs(mean("intruder_accuracy") - 0.2)).toBeLessThan(0.15);
});

test("answers that can't be read are counted, and leave the figures of the others alone", async () => {
	let judged = 0;
	const mumbling: Judge = (question, number) =>
		question.kind === "detection" && judged++ % 3 === 0 ? "well, it depends" : oracle(question, number);
	const { said } = await scores({ ...optionsFor(mumbling), tests: "detection" });
	const sum = (name: string) => said.reduce((total, { scores: found }) => total + Number(found[name]), 0);
	// A third of eight questions, of five passages each, for every latent.
	expect(sum("detection_failed")).toBe((LATENTS * 8 * 5) / 3);
	expect(sum("detection_judged") + sum("detection_failed")).toBe(LATENTS * 40);
	expect(said.every(({ scores: found }) => found.detection_accuracy === 1)).toBe(true);
});

describe("explanations", () => {
	test.each([
		["<think>EXPLANATION: no\n</think>\nEXPLANATION: **a word**", "a word"],
		['[EXPLANATION]: "a word"', "a word"],
		["a word", "a word"],
		["Thoughts.\nExplanation: first\nEXPLANATION: second", "second"],
		["Two lines\nand no label", null],
		[`EXPLANATION: ${"long ".repeat(200)}`, null],
		["", null],
	])("in %j", async (answer, explanation) => {
		const options = {
			...optionsFor(({ kind }) => (kind === "explain" ? answer : "[1]")),
			tests: "detection",
		};
		const { said } = await explain(llm, FEATURES.slice(0, 1), options);
		expect(said![0]!.explanation).toBe(explanation);
		expect(said![0]!.scores.explanation_failed).toBe(explanation === null ? 1 : 0);
	});

	test("are made of no passage that judges them", async () => {
		const shown = new Set<string>();
		const judging: string[] = [];
		const watching: Judge = (question, number) => {
			const plain = question.passages.map((text) => text.replace(/<<|>>|\n\([^\n]*\)$/g, ""));
			if (question.kind === "explain") for (const text of plain) shown.add(text);
			else judging.push(...plain);
			return oracle(question, number);
		};
		await explain(llm, FEATURES.slice(0, 2), { ...optionsFor(watching), tests: "detection" });
		expect(shown.size).toBe(40);
		// Passages of the one latent are those without the word of the other, and may explain that one.
		const own = judging.filter((text) => shown.has(text));
		for (const text of own) expect(judging.filter((other) => other === text).length).toBe(1);
	});
});

describe("what was answered", () => {
	test("is not asked again, even if the file was cut off in the middle of a line", async () => {
		const options = { ...optionsFor(oracle), ...ALL };
		const first = await explain(llm, FEATURES, options);
		const asked = server.requests.length;
		const again = await explain(llm, FEATURES, options);
		expect(server.requests.length).toBe(asked);
		expect(again.said).toEqual(first.said!);
		expect(again.log[0]).toContain(
			`${asked} have been answered before: about 0 tokens to read and 0 to write`,
		);
		const { length } = await readFile(options.answers);
		await truncate(options.answers, length - 3);
		const repaired = await explain(llm, FEATURES, options);
		expect(server.requests.length).toBe(asked + 1);
		expect(repaired.said).toEqual(first.said!);
		await explain(llm, FEATURES, options);
		expect(server.requests.length).toBe(asked + 1);
	});

	test("is of one model and its settings", async () => {
		const options = { ...optionsFor(oracle), tests: "detection" };
		await explain(llm, FEATURES.slice(0, 1), options);
		const asked = server.requests.length;
		await explain(llm, FEATURES.slice(0, 1), { ...options, temperature: 1 });
		expect(server.requests.length).toBe(2 * asked);
	});

	test("is kept where a run fails, and the next one goes on", async () => {
		const failing: Judge = (question, number) =>
			number === 30 ? new Response("no such model", { status: 404 }) : oracle(question, number);
		const options = { ...optionsFor(failing), concurrency: 1 };
		await expect(explain(llm, FEATURES, options)).rejects.toThrow("not found (404, no such model)");
		expect(server.requests.length).toBe(31);
		await explain(llm, FEATURES, options);
		expect(server.requests.length).toBe(1 + LATENTS * (1 + 8 + 8));
	});

	test("is in no other file", async () => {
		const options = optionsFor(oracle);
		await writeFile(options.answers, "a,b\n1,2\n");
		await expect(explain(llm, FEATURES, options)).rejects.toThrow("is no file of answers");
	});
});

describe("the server", () => {
	test("is asked for nothing by a dry run, which tells what would be asked", async () => {
		const { said, log } = await explain(llm, FEATURES, {
			...optionsFor(oracle),
			dry_run: true,
			price: "1000,10000",
		});
		expect(said).toBeUndefined();
		expect(server.requests).toEqual([]);
		expect(log).toEqual([
			expect.stringMatching(
				/^12 latents take 204 requests: about \d+ thousand tokens to read and [\d,]+ to write, at a cost of about \d+\.\d\d$/,
			),
		]);
	});

	test("gets no more requests at a time than it may", async () => {
		await explain(llm, FEATURES.slice(0, 2), { ...optionsFor(oracle, 5), concurrency: 3 });
		expect(server.most()).toBe(3);
	});

	test("is given a key where there is one", async () => {
		process.env.SAE_TEST_KEY = "secret";
		const options = { ...optionsFor(oracle), tests: "detection", key_env: "SAE_TEST_KEY" };
		await explain(llm, FEATURES.slice(0, 1), options);
		delete process.env.SAE_TEST_KEY;
		expect(server.headers.every((headers) => headers.get("authorization") === "Bearer secret")).toBe(true);
		expect(await readFile(options.answers, "utf8")).not.toContain("secret");
	});

	test("may be busy or out of order for a while", async () => {
		const busy: Judge = (question, number) => {
			if (number === 0) return new Response("", { status: 429, headers: { "retry-after": "0" } });
			if (number === 1) return new Response("", { status: 500 });
			return oracle(question, number);
		};
		const { said } = await explain(llm, FEATURES.slice(0, 1), { ...optionsFor(busy), tests: "detection" });
		expect(said![0]!.scores).toMatchObject({ detection_accuracy: 1, detection_failed: 0 });
		expect(server.requests.length).toBe(2 + 1 + 4);
	});

	test("may take other names of settings", async () => {
		const refusing: Judge = (question, number) => {
			const body = server.requests[number]!;
			const refuse = (message: string) => Response.json({ error: { message } }, { status: 400 });
			if ("max_tokens" in body)
				return refuse("Unsupported: 'max_tokens', use 'max_completion_tokens' instead.");
			if ("temperature" in body) return refuse("Unsupported value: 'temperature' does not support 0.");
			return oracle(question, number);
		};
		const options = { ...optionsFor(refusing), tests: "detection" };
		const { said, log } = await explain(llm, FEATURES, options);
		for (const { scores } of said!)
			expect(scores).toMatchObject({ detection_accuracy: 1, detection_failed: 0 });
		expect(log.filter((line) => line.includes("takes no temperature")).length).toBe(1);
	});

	test("may refuse a request, which counts as failed", async () => {
		const strict: Judge = (question, number) =>
			number === 3
				? Response.json({ error: { message: "filtered" } }, { status: 400 })
				: oracle(question, number);
		const options = { ...optionsFor(strict), tests: "detection", concurrency: 1 };
		const { said, log } = await explain(llm, FEATURES.slice(0, 1), options);
		expect(said![0]!.scores).toMatchObject({ detection_failed: 5, detection_judged: 15 });
		expect(log.join("\n")).toContain("a request was refused: the server refused (400, filtered)");
	});

	test.each<[string, () => Response, string]>([
		[
			"the key",
			() => Response.json({ error: { message: "bad key" } }, { status: 401 }),
			"the key was refused (401, bad key)",
		],
		[
			"everything",
			() => Response.json({ error: "broken" }, { status: 400 }),
			"the server refused (400, broken)",
		],
		["to speak JSON", () => new Response("<html>"), "the answer is not JSON"],
	])("that refuses %s ends the run with a line", async (_, answer, message) => {
		await expect(explain(llm, FEATURES, { ...optionsFor(answer), retries: 0 })).rejects.toThrow(message);
	});

	test("that is not there ends the run with a line", async () => {
		const options = optionsFor(oracle);
		await server.stop();
		await expect(explain(llm, FEATURES, { ...options, retries: 0 })).rejects.toThrow(
			`${options.base_url}/chat/completions: can't be reached`,
		);
	});

	test("that gives no text fails its requests", async () => {
		const { said } = await explain(llm, FEATURES.slice(0, 1), {
			...optionsFor(() => completion(null)),
			...ALL,
		});
		expect(said![0]).toMatchObject({
			explanation: null,
			scores: { explanation_failed: 1, intruder_failed: 0 },
		});
	});
});

test("texts without tokens are shown whole, and line-ups are of texts", async () => {
	const texts = toyFeatures(4).map((feature) => {
		const whole = (example: (typeof feature.top)[number]) => ({
			...example,
			at: 0,
			values: Float32Array.of(example.value),
			tokens: new Uint32Array(),
			texts: [example.texts.join("")],
		});
		return { ...feature, top: feature.top.map(whole), samples: feature.samples.map(whole) };
	});
	const reading: Judge = ({ kind, explanation, passages }) => {
		expect(passages.join()).not.toContain("<<");
		const wordsOf = (text: string) => text.match(/word\d+/g) ?? [];
		if (kind === "explain") return `EXPLANATION: ${wordsOf(passages[0]!)[0]}`;
		if (kind === "detection")
			return JSON.stringify(passages.map((text) => Number(text.includes(explanation!))));
		const words = passages.map((text) => wordsOf(text)[0]);
		return `ANSWER: ${1 + words.findIndex((word) => words.filter((other) => other === word).length === 1)}`;
	};
	const { said } = await explain(llm, texts, { ...optionsFor(reading), tests: "detection,intruder" });
	for (const { scores: found } of said!) {
		expect(found).toMatchObject({ detection_accuracy: 1, intruder_accuracy: 1 });
	}
});
