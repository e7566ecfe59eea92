/** Crosscoders, transcoders and SAEs of several layers as commands: killed, resumed, encoded, evaluated, exported. */
import { afterAll, beforeAll, describe, expect, test } from "bun:test";
import { mkdtemp, rm } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { writeArrowFile } from "../../core/arrow/writer.ts";
import { columnStream, layerStream, type Source } from "../plugins/features.ts";
import { ended, sae, shell, start } from "./sae.ts";
import { checkpointOf, weights } from "./training.ts";

const a: Source = { name: "a", width: 12, scale: 1 };
const b: Source = { name: "b", width: 12, scale: 30 };
const c: Source = { name: "c", width: 20, scale: 4 };
const shape = { features: 32, active: 3, rows: 8192, seed: 4 };

let folder: string;
const path = (name: string) => join(folder, name);
beforeAll(async () => {
	folder = await mkdtemp(join(tmpdir(), "sae-columns-"));
	await writeArrowFile(columnStream([a, b, c], shape), path("columns.arrow"));
	await writeArrowFile(layerStream({ ...a, name: "activation" }, shape, 20), path("layers.arrow"));
});
afterAll(() => rm(folder, { recursive: true }));

const RUN = [
	...["--d-sae", "32", "--batch-size", "64", "--tokens", "5120", "--lr", "0.01", "--eval-rows", "256"],
	...["--shuffle-buffer", "1000", "--sample-rows", "512", "--checkpoint-every", "5"],
];

const rowsOf = (json: string) =>
	json
		.trim()
		.split("\n")
		.map((line) => JSON.parse(line));

describe.each([
	["crosscoder", "columns.arrow", ["crosscoder", "--column", "a,b", "--l1", "0.2"]],
	["transcoder", "columns.arrow", ["transcoder", "--column", "a", "--target", "c", "--k", "3"]],
	["several sources and targets", "columns.arrow", ["transcoder", "--column", "a,b", "--target", "c,a"]],
	["several layers", "layers.arrow", ["topk", "--per-layer", "--k", "3"]],
])("%s", (name, rows, words) => {
	const run = (out: string, ...more: string[]) => [
		...["train", words[0]!, path(rows), ...words.slice(1), ...RUN, "--out", path(`${name} ${out}`)],
		...["--metrics", path(`${name} ${out}.json`), ...more],
	];
	const figures = async (...given: string[]) => {
		const { stdout, stderr } = await sae(["eval", "reconstruction", ...given, "--format", "json"]);
		expect(stderr).not.toContain("sae: ");
		return rowsOf(stdout);
	};

	test("killed and resumed, it ends with the same bits", async () => {
		expect(await sae(run("whole"))).toMatchObject({ exitCode: 0 });
		const killed = start(run("killed"));
		while (!(await Bun.file(checkpointOf(path(`${name} killed`))).exists())) await Bun.sleep(5);
		killed.kill("SIGKILL");
		// It may have been done already; then it only writes its SAE again.
		await ended(killed);
		expect(await sae(run("killed", "--resume"))).toMatchObject({ exitCode: 0 });
		expect(await weights(path(`${name} killed`))).toEqual(await weights(path(`${name} whole`)));
	});

	test("evaluates on its own columns, and copies of it give the same figures", async () => {
		const model = path(`${name} whole`);
		const before = await figures(model, path(rows));
		expect(before[0].rows).toBe(8192);
		expect(before[0].fvu).toBeLessThan(1);
		const copy = path(`${name} copy`);
		expect(await sae(["export", "native", model, "--out", copy])).toMatchObject({ exitCode: 0 });
		expect(await figures(copy, path(rows))).toEqual(before);
		const decoded = await shell(
			`sae encode '${model}' ${path(rows)} | sae decode '${model}' --column back --format json | head -n 1`,
		);
		expect(decoded.stderr).not.toContain("sae: ");
		const width = { crosscoder: 24, transcoder: 20, "several sources and targets": 32, "several layers": 12 };
		expect(rowsOf(decoded.stdout)[0].back).toHaveLength(width[name as keyof typeof width]);
	});

	test("is not resumed with other columns", async () => {
		const changed = run("whole", "--resume").map((word) =>
			word === "a,b" ? "b,a" : word === "--per-layer" ? "--column=activation" : word === "c" ? "b" : word,
		);
		const { exitCode, stderr } = await sae(changed);
		expect(exitCode).toBe(2);
		expect(stderr).toMatch(/--resume continues the same run, but (column|target|layers) was/);
	});
});

test("figures of columns and of layers are rows of their own", async () => {
	const names = async (model: string, rows: string) => {
		const { stdout } = await sae(["eval", "reconstruction", path(model), path(rows), "--format", "json"]);
		return rowsOf(stdout).map(({ of }) => of);
	};
	expect(await names("crosscoder whole", "columns.arrow")).toEqual(["all rows", "column a", "column b"]);
	expect(await names("several layers whole", "layers.arrow")).toEqual(["all rows", "layer 1", "layer 3"]);
	const one = await shell(
		`sae activations file ${path("layers.arrow")} --layers 3 | sae eval reconstruction '${path("several layers whole")}' --format json`,
	);
	expect(rowsOf(one.stdout)).toHaveLength(1);
	expect(rowsOf(one.stdout)[0].rows).toBe(4096);
});

test("SAELens gets what it can hold, and no other", async () => {
	const exported = (model: string) =>
		sae(["export", "saelens", path(model), "--out", path(`${model} for SAELens`)]);
	expect((await exported("several layers whole")).stderr).toContain(
		"scales the rows of each layer by themselves, for which SAELens has no place",
	);
	expect((await exported("crosscoder whole")).stderr).toContain("no architecture like crosscoder");
	const words = ["train", "transcoder", path("columns.arrow"), "--column", "a", "--target", "c", "--k", "3"];
	expect(await sae([...words, ...RUN, "--select", "batchtopk", "--out", path("threshold")])).toMatchObject({
		exitCode: 0,
	});
	expect(await exported("threshold")).toMatchObject({ exitCode: 0 });
	const cfg = await Bun.file(path("threshold for SAELens/cfg.json")).json();
	expect(cfg).toMatchObject({ architecture: "jumprelu_transcoder", d_in: 12, d_out: 20 });
	expect(cfg.metadata).toMatchObject({ input_columns: ["a"], target_columns: ["c"] });
});

test("groups of layers, and an SAE for each", async () => {
	const { stdout, stderr, exitCode } = await shell(`
		cd ${folder}
		sae eval layer-distance layers.arrow --threshold 0.1 --format csv | awk -F, '$5 == 1 { print $2 }' |
		while read -r layers; do
			sae activations file layers.arrow --layers "$layers" |
				sae train topk --k 3 --d-sae 32 --tokens 1024 --batch-size 64 --out "groups/\${layers// /-}" > /dev/null
		done
		ls groups`);
	expect({ exitCode, stderr: stderr.includes("sae: ") }).toEqual({ exitCode: 0, stderr: false });
	expect(stdout).toBe("1\n3\n");
});

test.each([
	[["--column", "a,nowhere"], "no column nowhere"],
	[["--column", "a,,b"], "--column"],
	[["--column", "a", "--per-layer"], "no column layer"],
	[["--column", "a", "--target", "c"], "it can't have a --target"],
])("topk %p is refused", async (words, message) => {
	const { exitCode, stderr } = await sae([
		"train",
		"topk",
		path("columns.arrow"),
		...words,
		...RUN,
		"--out",
		path("no"),
	]);
	expect(exitCode).toBeOneOf([2, 3]);
	expect(stderr).toContain(message);
});
