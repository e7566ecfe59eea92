/** `sae intervene` and `sae eval loss` as a person types them. */
import { afterAll, beforeAll, expect, test } from "bun:test";
import { mkdtemp, rm } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { saveSae } from "../../core/load.ts";
import { randomTopK } from "../reference/models.ts";
import { sae } from "./sae.ts";

const DEMO = join(import.meta.dir, "../../demo/data");
const MODEL = join(DEMO, "model");
const TOKENS = join(DEMO, "parity.safetensors");

let folder: string;
let path: string;
beforeAll(async () => {
	folder = await mkdtemp(join(tmpdir(), "sae-cli-intervene-"));
	path = join(folder, "sae");
	await saveSae({ ...randomTopK(128, 160, 8), metadata: { hook_name: "transformer.h.1" } }, path);
});
afterAll(() => rm(folder, { recursive: true }));

const json = async (...words: string[]) => {
	const { stdout, stderr, exitCode } = await sae([...words, "--model", MODEL, "--format", "json"]);
	expect(exitCode, stderr).toBe(0);
	return stdout
		.trimEnd()
		.split("\n")
		.map((line) => JSON.parse(line));
};

test("text with and without, the same for the same seed", async () => {
	const words = ["intervene", path, "--prompt", "The", "--clamp", "3=80", "--generate", "6", "--seed", "5"];
	const first = await json(...words, "--samples", "2");
	expect(first.map(({ prompt, sample }) => [prompt, sample])).toEqual([
		["The", 0],
		["The", 1],
	]);
	for (const { text_without_sae, text_with_sae } of first) expect(text_with_sae).not.toBe(text_without_sae);
	expect(await json(...words, "--samples", "2")).toEqual(first);
});

test("losses, and losses by token from the position on at which a latent is changed", async () => {
	const words = ["intervene", path, "--tokens", TOKENS, "--add", "3=50@5-"];
	const [clean, changed] = await json(...words);
	expect(clean).toMatchObject({ run: "model", predictions: 31, ce_loss_delta: 0, kl_div: 0 });
	expect(changed.run).toBe("intervention");
	const rows = await json(...words, "--per-token");
	expect(rows).toHaveLength(32);
	expect(rows[0].text).toBe("B");
	expect(rows.findIndex(({ kl_div_with_sae }) => kl_div_with_sae > 1e-3)).toBe(5);
	const mean = (name: string) => rows.slice(0, 31).reduce((sum, row) => sum + row[name] / 31, 0);
	expect(mean("ce_loss_without_sae")).toBeCloseTo(clean.ce_loss, 5);
	expect(mean("ce_loss_with_sae")).toBeCloseTo(changed.ce_loss, 5);
	expect(rows[31].ce_loss_with_sae).toBeNull();
});

test("loss recovered, as a person types it", async () => {
	const [row] = await json("eval", "loss", path, "--tokens", TOKENS);
	expect(row).toMatchObject({ sae: path, hook_name: "blocks.1.hook_resid_post", tokens: 32, l0: 8 });
	expect(row.ce_loss_without_sae).toBeLessThan(row.ce_loss_with_sae);
});

test.each([
	["a latent too many", ["--ablate", "160"], "latent 160: "],
	["an SAE too many", ["--ablate", "1:3"], "1:3: there is one SAE, number 0"],
	["no value", ["--clamp", "3"], "--clamp 3: write LATENT=VALUE, e.g. --clamp 17=-4.5"],
	["text and a prompt", ["--text", "a.txt"], "give --prompt, or --text or --tokens, not both"],
	["losses of a prompt", ["--per-token"], "--per-token is about losses; with --prompt there are none"],
])("%s is one line", async (_, words, message) => {
	const { stderr, stdout, exitCode } = await sae([
		"intervene",
		path,
		"--model",
		MODEL,
		"--prompt",
		"a",
		...words,
	]);
	const lines = stderr.split("\n").filter((line) => line.startsWith("sae:"));
	expect(lines).toHaveLength(1);
	expect(lines[0]).toStartWith(`sae: ${message}`);
	expect({ stdout, exitCode }).toEqual({ stdout: "", exitCode: 2 });
});
