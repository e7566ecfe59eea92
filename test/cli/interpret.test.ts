/** `sae interpret`, from its words to its rows. */
import { afterAll, beforeAll, expect, test } from "bun:test";
import { mkdtemp, readdir, rm } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { writeArrowFile } from "../../core/arrow/writer.ts";
import { toyFeatures } from "../../core/conformance/features.ts";
import { EXIT } from "../../core/errors.ts";
import { featuresStreamOf } from "../core/interpret/features.ts";
import { chatServer, type Judge, oracle } from "../plugins/interpret/chat-server.ts";
import { sae, shell, start } from "./sae.ts";

let folder: string;
const path = (name: string) => join(folder, name);

beforeAll(async () => {
	folder = await mkdtemp(join(tmpdir(), "sae-interpret-"));
	await writeArrowFile(featuresStreamOf(toyFeatures(10)), path("features.arrow"));
});
afterAll(() => rm(folder, { recursive: true }));

const rowsIn = (text: string) =>
	text
		.trimEnd()
		.split("\n")
		.map((line) => JSON.parse(line));

test("explains some latents, and leaves what was said of others", async () => {
	const { stderr, exitCode } = await sae([
		...["interpret", "ngram", path("features.arrow"), "--latents", "0,2:4"],
		...["--out", path("some.arrow")],
	]);
	expect({ stderr, exitCode }).toMatchObject({ exitCode: EXIT.ok });
	const again = await sae([
		"interpret",
		"tokens",
		path("some.arrow"),
		"--latents",
		"3,9",
		"--format",
		"json",
	]);
	const rows = rowsIn(again.stdout);
	expect(rows.map(({ explanation_source }) => explanation_source)).toEqual([
		...["ngram", null, "ngram", "tokens", null, null, null, null, null, "tokens"],
	]);
	expect(rows[2]).toMatchObject({ explanation: '" word2"', ngram_f1: 1, tokens_top_share: null, count: 40 });
	expect(rows[3]).toMatchObject({ explanation: '" word3" 100 %', ngram_f1: 1, tokens_top_share: 1 });
});

test("reads a pipe, whose copy it removes, and ends with its reader", async () => {
	const words = `cd ${folder} && mkdir -p tmp && TMPDIR=$PWD/tmp`;
	const { stdout } = await shell(
		`${words} sae interpret tokens --sample 4 --format json < features.arrow | grep -c '"explanation_source":"tokens"'`,
	);
	expect(stdout).toBe("4\n");
	expect(await readdir(path("tmp"))).toEqual([]);
	const closed = await shell(
		`${words} sae interpret tokens < features.arrow | head -c 10 | wc -c; echo \${PIPESTATUS[0]}`,
	);
	expect(closed).toMatchObject({ stdout: "10\n0\n" });
	expect(await readdir(path("tmp"))).toEqual([]);
});

test("a run that is interrupted goes on where it was, and leaves no file", async () => {
	let pause = true;
	let interrupted: (() => void) | undefined;
	const asked = new Promise<void>((resolve) => {
		interrupted = resolve;
	});
	const judge: Judge = (question, number) => {
		if (pause && number === 40) interrupted!();
		return oracle(question, number);
	};
	const server = chatServer(judge, 10);
	const words = [
		...["interpret", "llm", path("features.arrow"), "--base-url", server.url, "--model", "scripted"],
		...["--concurrency", "2", "--out", path("explained.arrow")],
	];
	const env = { XDG_CACHE_HOME: path("cache") };
	const child = start(words, env);
	await asked;
	child.kill("SIGINT");
	expect(await child.exited).toBe(EXIT.interrupted);
	expect(await readdir(folder)).not.toContain("explained.arrow");
	pause = false;
	const before = server.requests.length;
	const { stderr, exitCode } = await sae(words, env);
	expect(exitCode).toBe(EXIT.ok);
	const all = 10 * (1 + 8 + 8);
	const known = Number(/of which (\d+) have been answered before/.exec(stderr)?.[1]);
	// At most the two that were on their way are lost.
	expect(known).toBeGreaterThanOrEqual(before - 2);
	expect(server.requests.length).toBe(before + all - known);
	expect(stderr).toContain(`${all - known} requests were answered`);
	await server.stop();
});

test.each<[string, string[], number, string]>([
	["no server", ["llm"], EXIT.usage, "--base-url is required"],
	["no latent", ["ngram", "--latents", "77"], EXIT.data, "of 10 latents in the stream none is chosen"],
	["ranges", ["ngram", "--latents", "1-3"], EXIT.usage, "--latents: must be like 3,17,100:200"],
	[
		"tests",
		["llm", "--base-url", "http://x/v1", "--model", "m", "--tests", "guess"],
		EXIT.usage,
		"--tests: must be some of",
	],
	["an address", ["llm", "--base-url", "x", "--model", "m"], EXIT.usage, "--base-url:"],
	["an interpreter", ["oracle"], EXIT.usage, "unknown interpreter oracle"],
])("%s that is wrong is one line", async (_, words, code, message) => {
	const [name, ...others] = words as [string, ...string[]];
	const { stderr, exitCode } = await sae(["interpret", name, path("features.arrow"), ...others]);
	expect(stderr).toContain(`sae: ${message}`);
	expect(exitCode).toBe(code);
});
