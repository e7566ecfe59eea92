/** The whole way from text through a model to an SAE, and what a person sees when it can't be gone. */
import { afterAll, expect, test } from "bun:test";
import { mkdtemp, rm } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { sae, shell } from "./sae.ts";

const folder = await mkdtemp(join(tmpdir(), "sae-cli-transformer-"));
afterAll(() => rm(folder, { recursive: true }));

const DEMO = join(import.meta.dir, "../../demo/data");
const MODEL = join(DEMO, "model");

test("text goes in, an SAE that knows where it is from comes out", async () => {
	const out = join(folder, "sae");
	const { exitCode, stderr } = await shell(
		`set -o pipefail
		head -c 4000 "${DEMO}/held-out.txt" |
			sae activations transformer "${MODEL}" --hook-point blocks.0.hook_resid_post --text - --delimiter '<|endoftext|>' |
			sae train topk --d-sae 128 --k 4 --tokens 512 --batch-size 128 --out "${out}" --format csv`,
	);
	expect(stderr).toMatch(/\d+ tokens in [\d.]+ s, \d+ tokens\/s/);
	expect(exitCode).toBe(0);
	const { metadata } = await Bun.file(join(out, "cfg.json")).json();
	expect(metadata).toMatchObject({ model_name: MODEL, hook_name: "blocks.0.hook_resid_post" });
});

test.each([
	["a folder that is not there", ["./nowhere"], 3, "sae: ./nowhere: there is no such folder\n"],
	["a folder that is no model", [folder], 3, `sae: ${folder}/config.json: there is no such file\n`],
	["a layer too many", [MODEL, "--hook-point", "transformer.h.3"], 2, "the model has the layers 0 to 2\n"],
	["no input", [MODEL], 2, "sae: give either --tokens FILE or --text FILE\n"],
] as const)("%s is one line", async (name, words, code, message) => {
	const point = words.includes("--hook-point" as never) ? [] : ["--hook-point", "blocks.0.hook_resid_pre"];
	const input = name === "no input" ? [] : ["--tokens", join(DEMO, "parity.safetensors")];
	const { exitCode, stderr, stdout } = await sae([
		"activations",
		"transformer",
		...words,
		...point,
		...input,
	]);
	expect(stderr).toEndWith(message);
	expect(stderr.trimEnd().split("\n")).toHaveLength(1);
	expect({ exitCode, stdout }).toEqual({ exitCode: code, stdout: "" });
});
