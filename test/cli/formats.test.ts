/** SAEs of other libraries on the command line: looking at them, running them, converting them. */
import { afterAll, beforeAll, describe, expect, test } from "bun:test";
import { mkdtemp, rm } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { writeSafetensors } from "../../core/files/safetensors.ts";
import { sae } from "./sae.ts";

const FORMATS = join(import.meta.dir, "../fixtures/formats");

let folder: string;
let acts: string;
let expected: { x: number[][]; y: number[][] };
beforeAll(async () => {
	folder = await mkdtemp(join(tmpdir(), "sae-formats-"));
	expected = await Bun.file(join(FORMATS, "openai/topk/expected.json")).json();
	const data = Float32Array.from(expected.x.flat());
	await writeSafetensors(join(folder, "x.safetensors"), [{ name: "x", dtype: "f32", shape: [7, 6], data }]);
	acts = join(folder, "x.arrow");
	expect(await sae(["activations", "file", join(folder, "x.safetensors"), "--out", acts])).toMatchObject({
		exitCode: 0,
	});
});
afterAll(() => rm(folder, { recursive: true }));

describe("inspect", () => {
	test("lists the SAEs of a folder, and every other command names them", async () => {
		const { stdout } = await sae(["inspect", join(FORMATS, "sparsify")]);
		expect(stdout).toMatch(/^format +folder of SAEs\ncount +5\nsaes\n +expansion +sparsify\n/);
		const { stderr, exitCode } = await sae(["encode", join(FORMATS, "sparsify"), acts]);
		expect(exitCode).toBe(3);
		expect(stderr).toContain("sparsify: is a folder of SAEs; name one of them: ");
		expect(stderr).toContain(join(FORMATS, "sparsify/groupmax"));
	});

	test("says what is missing", async () => {
		const { stdout } = await sae(["inspect", join(FORMATS, "saelens/average-lost"), "--json"]);
		expect(JSON.parse(stdout).missing).toContain("sae import --input-scale");
	});

	test("lists the arrays of a file that is no SAE", async () => {
		const { stdout } = await sae(["inspect", join(folder, "x.safetensors")]);
		expect(stdout).toContain("x  f32 [7, 6]\n");
	});

	test("lists the arrays of a file that could be an SAE's, and says why it is none", async () => {
		const { stdout } = await sae(["inspect", join(import.meta.dir, "../fixtures/torch/ae.pt")]);
		expect(stdout).toMatch(/^format +torch\narrays\n/);
		expect(stdout).toContain("encoder.weight  f32 [12, 5]\n");
		expect(stdout).toMatch(
			/missing +has no config.json beside it, and its tensors may be of AutoEncoderTopK/,
		);
	});

	test("says what a file is a part of", async () => {
		const { stdout } = await sae(["inspect", join(FORMATS, "sparsify/topk/sae.safetensors")]);
		expect(stdout).toContain(`part_of   ${join(FORMATS, "sparsify/topk")}\n`);
	});

	test("names what a hostile file asks for", async () => {
		const path = join(import.meta.dir, "../fixtures/torch/module.pt");
		const { stderr, exitCode } = await sae(["inspect", path]);
		expect(exitCode).toBe(3);
		expect(stderr).toContain("asks for torch.nn.modules.linear.Linear");
	});
});

test("an SAE that normalises rows is decoded with them", async () => {
	const path = join(FORMATS, "openai/topk/3.pt");
	const [lean, full] = [join(folder, "lean.arrow"), join(folder, "full.arrow")];
	await sae(["encode", path, acts, "--out", lean]);
	await sae(["encode", path, acts, "--keep-activations", "--out", full]);
	const alone = await sae(["decode", path, lean]);
	expect(alone.exitCode).toBe(3);
	expect(alone.stderr).toContain(
		"needs the rows that were encoded, which sae encode --keep-activations keeps",
	);
	const { stdout } = await sae(["decode", path, full, "--column", "back", "--format", "json"]);
	const rows = stdout
		.trim()
		.split("\n")
		.map((line) => JSON.parse(line).back);
	for (const [row, values] of expected.y.entries()) {
		for (const [i, value] of values.entries()) expect(rows[row][i]).toBeCloseTo(value, 4);
	}
});

describe("import", () => {
	test("makes a native folder, compared on given rows", async () => {
		const out = join(folder, "native");
		const words = ["import", join(FORMATS, "dictionary-learning/topk"), "--out", out, "--activations", acts];
		const { stderr, exitCode } = await sae(words);
		expect(exitCode).toBe(0);
		expect(stderr).toContain(
			"lossless: the same codes and reconstructions, bit by bit, on 7 rows with 21 codes",
		);
	});

	test("folds in the input scale that a file lacks, and none twice", async () => {
		const path = join(FORMATS, "saelens/average-lost");
		const out = join(folder, "folded");
		const without = await sae(["import", path, "--out", out]);
		expect(without.stderr).toContain("--input-scale says it");
		expect((await sae(["import", path, "--input-scale", "0.4", "--out", out])).exitCode).toBe(0);
		const truth = JSON.parse(
			(await sae(["inspect", join(FORMATS, "saelens/average-scaler"), "--json"])).stdout,
		);
		const facts = JSON.parse((await sae(["inspect", out, "--json"])).stdout);
		expect(facts).toMatchObject({ architecture: truth.architecture, normalize_activations: "none" });
		const twice = await sae(["import", out, "--input-scale", "0.4", "--out", join(folder, "twice")]);
		expect(twice).toMatchObject({ exitCode: 2 });
		expect(twice.stderr).toContain("folded in twice");
	});
});

test("export says when it is not lossless, and refuses what a format can't hold", async () => {
	const out = join(folder, "params.npz");
	const rounded = await sae([
		"export",
		"gemma-scope",
		join(FORMATS, "dictionary-learning/autoencoder"),
		"--out",
		out,
	]);
	expect(rounded.stderr).toContain("the same up to rounding on 64 rows");
	expect(rounded.stderr).not.toContain("lossless");
	const words = ["export", "sparsify", join(FORMATS, "gemma-scope/1"), "--out", join(folder, "refused")];
	const refused = await sae(words);
	expect(refused.exitCode).toBe(3);
	expect(refused.stderr).toContain("sparsify has no architecture that encodes as jumprelu does");
});
