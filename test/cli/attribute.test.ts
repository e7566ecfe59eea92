/** `sae attribute` as a person types it. */
import { afterAll, beforeAll, expect, test } from "bun:test";
import { mkdtemp, rm } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { saveSae } from "../../core/load.ts";
import { randomTopK } from "../reference/models.ts";
import { sae } from "./sae.ts";

const DEMO = join(import.meta.dir, "../../demo/data");
const MODEL = ["--model", join(DEMO, "model")];

let folder: string;
let path: string;
beforeAll(async () => {
	folder = await mkdtemp(join(tmpdir(), "sae-cli-attribute-"));
	path = join(folder, "sae");
	await saveSae({ ...randomTopK(128, 64, 8), metadata: { hook_name: "blocks.1.attn.hook_z" } }, path);
});
afterAll(() => rm(folder, { recursive: true }));

const json = async (...words: string[]) => {
	const { stdout, stderr, exitCode } = await sae(["attribute", ...words, ...MODEL, "--format", "json"]);
	expect(exitCode, stderr).toBe(0);
	return stdout
		.trimEnd()
		.split("\n")
		.map((line) => JSON.parse(line));
};

test("logits of latents, with the tokens' text", async () => {
	const all = await json("logits", path, "--top", "3");
	expect(all.map(({ latent }) => latent)).toEqual([...Array(64).keys()]);
	const rows = await json("logits", path, "--top", "3", "--latent", "9", "--latent", "2");
	expect(rows).toEqual([all[9], all[2]]);
	const { top_logits: top, bottom_logits: bottom } = rows[0];
	expect(top).toHaveLength(3);
	expect(top[0].logit).toBeGreaterThan(top[2].logit);
	expect(bottom[0].logit).toBeLessThan(bottom[2].logit);
	expect(typeof top[0].text).toBe("string");
});

test("heads and sources of a latent where it is most active", async () => {
	const tokens = join(DEMO, "parity.safetensors");
	const rows = await json("attention", path, "--latent", "5", "--top", "2", "--tokens", tokens);
	const places = new Map(rows.map(({ position, activation }) => [position, activation]));
	expect(places.size).toBe(2);
	const [first, second] = [...places.values()];
	expect(first).toBeGreaterThanOrEqual(second);
	for (const position of places.keys()) {
		const own = rows.filter((row) => row.position === position);
		expect(own.map(({ source_position }) => source_position)).toEqual([...Array(position + 1).keys()]);
		for (const { heads, attribution } of own) {
			expect(heads).toHaveLength(4);
			expect(heads.reduce((sum: number, part: number) => sum + part, 0)).toBeCloseTo(attribution, 5);
		}
	}
});

test.each([
	["a latent too many", ["logits", "--latent", "64"], "--latent 64: the SAE has the latents 0 to 63"],
	[
		"no attention output",
		["attention", "--latent", "1", "--hook-point", "blocks.0.hook_mlp_out", "--tokens", "parity.safetensors"],
		"blocks.0.hook_mlp_out: attention is attributed for SAEs on attn.hook_z",
	],
])("%s is one line", async (_, [what, ...words], message) => {
	const given = words.map((word) => (word.endsWith(".safetensors") ? join(DEMO, word) : word));
	const { stderr, stdout, exitCode } = await sae(["attribute", what!, path, ...MODEL, ...given]);
	expect(stderr).toStartWith(`sae: ${message}`);
	expect(stderr.trimEnd().split("\n")).toHaveLength(1);
	expect(stdout).toBe("");
	expect(exitCode).toBeGreaterThan(1);
});
