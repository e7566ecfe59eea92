/** The verbs that take a finished SAE, as processes, on a folder that this project did not write. */
import { afterAll, beforeAll, describe, expect, test } from "bun:test";
import { mkdtemp, readdir, rm } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { tableFromIPC } from "apache-arrow";
import { activationsBatch, activationsSchema } from "../../core/arrow/activations.ts";
import { writeArrowFile } from "../../core/arrow/writer.ts";
import { sae, shell } from "./sae.ts";

const SAE = join(import.meta.dir, "../fixtures/saelens-topk");
const expected: { x: number[][]; acts: number[][]; out: number[][] } = await Bun.file(
	join(SAE, "expected.json"),
).json();

let folder: string;
beforeAll(async () => {
	folder = await mkdtemp(join(tmpdir(), "sae-cli-saes-"));
	const schema = activationsSchema({ width: 5, type: "float32", columns: ["token"] });
	const data = Float32Array.from(expected.x.flat());
	const vectors = { data, rows: expected.x.length, width: 5, type: "float32" as const };
	const batch = activationsBatch(schema, vectors, { token: Uint32Array.from(expected.x.keys()) }, 0);
	const batches = (async function* () {
		yield batch;
	})();
	await writeArrowFile({ schema, batches }, join(folder, "x.arrow"));
});
afterAll(() => rm(folder, { recursive: true }));

const path = (name: string) => join(folder, name);
const lines = (text: string) =>
	text
		.trim()
		.split("\n")
		.map((line) => JSON.parse(line));

describe("encode and decode", () => {
	test("give SAELens' latents and reconstructions, through a pipe", async () => {
		const { stdout, exitCode } = await shell(
			`sae encode ${SAE} < ${path("x.arrow")} | tee ${path("latents.arrow")} | sae decode ${SAE} --out ${path("back.arrow")}`,
		);
		expect([exitCode, stdout]).toEqual([0, ""]);
		const table = tableFromIPC(await Bun.file(path("back.arrow")).bytes());
		expect(table.schema.fields.map((field) => field.name)).toEqual(["activation", "token"]);
		const back = table.toArray().map((row) => Array.from<number>(row.activation));
		for (const [row, values] of expected.out.entries()) {
			for (const [i, value] of values.entries()) expect(back[row]![i]).toBeCloseTo(value, 4);
		}
		const latents = tableFromIPC(await Bun.file(path("latents.arrow")).bytes());
		for (const [row, { latents: entries, token }] of latents.toArray().entries()) {
			expect(token).toBe(row);
			const acts = new Array(12).fill(0);
			for (const entry of entries) acts[entry.index] = entry.value;
			for (const [latent, value] of expected.acts[row]!.entries()) expect(acts[latent]).toBeCloseTo(value, 4);
		}
	});

	test("keep another number of latents when asked", async () => {
		const { stdout } = await sae(["encode", SAE, path("x.arrow"), "--alpha", "0.34", "--format", "json"]);
		const rows = lines(stdout);
		expect(rows.map((row) => row.latents.length)).toEqual(expected.x.map(() => 1));
		for (const [row, { latents }] of rows.entries()) {
			expect(latents[0].value).toBeCloseTo(Math.max(...expected.acts[row]!), 4);
		}
	});

	test("refuse contradictions and streams of another kind, and write nothing", async () => {
		const both = await sae(["encode", SAE, path("x.arrow"), "--k", "2", "--alpha", "2"]);
		expect(both).toEqual({ stdout: "", stderr: "sae: give --k or --alpha, not both\n", exitCode: 2 });
		const wrong = await sae(["decode", SAE, path("x.arrow"), "--out", path("wrong.arrow")]);
		expect(wrong.exitCode).toBe(3);
		expect(wrong.stderr).toContain("x.arrow: is a stream of activations, but latents are needed");
		expect(await readdir(folder)).not.toContain("wrong.arrow");
	});
});

describe("eval", () => {
	test("prints one row of figures, as JSON or one figure a line", async () => {
		const words = ["eval", "reconstruction", SAE, path("x.arrow")];
		const [row] = lines((await sae([...words, "--format", "json"])).stdout);
		const error = expected.x
			.flat()
			.reduce((sum, value, i) => sum + (value - expected.out.flat()[i]!) ** 2, 0);
		expect(row).toMatchObject({ rows: 6, l0: 3 });
		expect(row.mse).toBeCloseTo(error / 6, 3);
		const { stdout } = await sae([...words, "--format", "table"]);
		expect(stdout).toMatch(/^figure +value\nrows +6\nmse +\d/);
	});

	test("an evaluator that needs no stream takes none", async () => {
		const words = ["eval", "recovery", SAE, path("x.arrow"), "--truth", "t.safetensors"];
		const { stderr, exitCode } = await sae(words);
		expect(exitCode).toBe(2);
		expect(stderr).toContain("the evaluator recovery reads no stream");
	});
});

describe("export and inspect", () => {
	test("export writes what inspect describes", async () => {
		expect((await sae(["export", "saelens", SAE, "--out", path("exported")])).exitCode).toBe(0);
		const facts = JSON.parse((await sae(["inspect", path("exported"), "--json"])).stdout);
		expect(facts).toMatchObject({
			format: "saelens",
			architecture: "topk",
			d_in: 5,
			d_sae: 12,
			settings: { k: 3 },
			tensors: { W_enc: "[5, 12]", W_dec: "[12, 5]", b_enc: "[12]", b_dec: "[5]" },
		});
		expect(facts.metadata.hook_name).toBe("blocks.2.hook_resid_post");
	});

	test("inspect describes Arrow files, and says what it can't read", async () => {
		const { stdout } = await sae(["inspect", path("x.arrow")]);
		expect(stdout).toContain("rows      6\n");
		expect(stdout).toContain("token       Uint32");
		const nowhere = await sae(["inspect", path("nowhere")]);
		expect(nowhere).toMatchObject({ stdout: "", exitCode: 3 });
		expect(nowhere.stderr).toContain("there is no such file or folder");
	});
});
