/** Sweeps over several columns and other targets. */
import { afterAll, beforeAll, describe, expect, test } from "bun:test";
import { mkdtemp, readdir, rm } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { writeArrowFile } from "../../core/arrow/writer.ts";
import { loadSae } from "../../core/load.ts";
import { columnStream, type Source } from "../plugins/features.ts";
import { sae, shell } from "./sae.ts";
import { metricsIn, weights } from "./training.ts";

const sources: Source[] = [
	{ name: "a", width: 12, scale: 1 },
	{ name: "b", width: 12, scale: 30 },
	{ name: "c", width: 20, scale: 4 },
];

let folder: string;
const path = (name: string) => join(folder, name);
beforeAll(async () => {
	folder = await mkdtemp(join(tmpdir(), "sae-sweep-columns-"));
	const shape = { features: 32, active: 3, rows: 3000, seed: 4 };
	await writeArrowFile(columnStream(sources, shape), path("columns.arrow"));
});
afterAll(() => rm(folder, { recursive: true }));

const RUN = "--batch-size 64 --tokens 2560 --lr 0.01 --eval-rows 256 --sample-rows 512";

async function sweep(out: string, words: string) {
	return shell(
		`sae sweep ${path("columns.arrow")} ${words} ${RUN} --out ${path(out)} --metrics ${path(`${out}.json`)}`,
	);
}

const table = (out: string) => metricsIn(path(`${out}.json`));

test("transcoders with and without a skip, beside a ReLU one, each as it would be alone", async () => {
	const grid =
		"--sae 'transcoder --k 3' --sae 'transcoder --k 3 --skip' --sae 'relu --target-l0 3' --d-sae 32";
	expect(await sweep("transcoders", `--column a --target b ${grid}`)).toMatchObject({ exitCode: 0 });
	const rows = await table("transcoders");
	expect(rows.map(({ architecture, skip }) => [architecture, skip])).toEqual([
		["transcoder", 0],
		["transcoder", 1],
		["relu", null],
	]);
	for (const { path } of rows) {
		const { d_in, d_out, metadata } = await loadSae(String(path));
		expect({
			d_in,
			d_out: d_out ?? d_in,
			columns: metadata.input_columns,
			targets: metadata.target_columns,
		}).toEqual({
			d_in: 12,
			d_out: 12,
			columns: ["a"],
			targets: ["b"],
		});
	}
	for (const row of rows.slice(0, 2)) expect(row.eval_fvu).toBeLessThan(0.9);
	const alone = await shell(
		`sae train transcoder ${path("columns.arrow")} --column a --target b --k 3 --d-sae 32 ${RUN} --out ${path("alone")}`,
	);
	expect(alone.exitCode).toBe(0);
	expect(await weights(String(rows[0]!.path))).toEqual(await weights(path("alone")));
});

test("crosscoders beside architectures that see the columns as one vector", async () => {
	const grid = "--sae 'crosscoder --l1 0.1,0.2' --sae 'topk --k 3'";
	expect(await sweep("crosscoders", `--column a,b ${grid}`)).toMatchObject({ exitCode: 0 });
	const rows = await table("crosscoders");
	expect(rows.map(({ architecture, l1, d_sae }) => [architecture, l1, d_sae])).toEqual([
		["crosscoder", 0.1, 192],
		["crosscoder", 0.2, 192],
		["topk", null, 192],
	]);
	const again = await sweep("crosscoders", `--column b,a ${grid} --resume`);
	expect(again.exitCode).toBe(2);
	expect(again.stderr).toContain(
		'--resume continues the same sweep, but column was ["a","b"], now ["b","a"]',
	);
	expect(await sweep("crosscoders", `--column a,b ${grid} --resume`)).toMatchObject({ exitCode: 0 });
	expect(await table("crosscoders")).toEqual(rows);
});

describe("refused in one clear line, with nothing written", () => {
	test.each([
		["--sae topk --column a --target b", "topk takes the centre of what it reconstructs from its inputs"],
		[
			"--sae crosscoder --column a,c",
			"crosscoder has 2 sources of one width, but the columns' widths are 12, 20",
		],
		["--sae crosscoder --column a,nowhere", "no column nowhere"],
		["--sae transcoder --column a --target nowhere", "no column nowhere"],
		["--sae topk", "several columns hold vectors (a, b, c); say which with --column"],
	])("%s", async (words, message) => {
		const { exitCode, stderr } = await sae([
			"sweep",
			path("columns.arrow"),
			...words.split(" "),
			...RUN.split(" "),
			"--out",
			path("no"),
		]);
		expect([2, 3]).toContain(exitCode);
		expect(stderr).toContain(message);
		expect(await readdir(folder)).not.toContain("no");
	});
});
