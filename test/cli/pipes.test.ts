/** stdout carries data only, and its reader may leave at any time. */
import { expect, test } from "bun:test";
import { mkdtemp, readdir } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { tableFromIPC } from "apache-arrow";
import { META } from "../../core/stream.ts";
import { shell, start } from "./sae.ts";

test("a reader that has seen enough ends the producer quietly", async () => {
	const ended = await shell(
		`sae activations synthetic --rows 1000000000 | head -c 1000 | wc -c; echo "\${PIPESTATUS[@]}"`,
	);
	expect(ended).toEqual({ stdout: "1000\n0 0 0\n", stderr: "", exitCode: 0 });
});

test("so it does for help and listings", async () => {
	const ended = await shell(
		"set -o pipefail; for verb in --help 'plugins --json' 'activations --help'; do sae $verb | true; done",
	);
	expect(ended).toEqual({ stdout: "", stderr: "", exitCode: 0 });
});

test("an interrupted producer ends at once, even when its reader has stalled", async () => {
	const child = start(["activations", "synthetic", "--rows", "1000000000"]);
	await child.stdout.getReader().read();
	child.kill("SIGINT");
	expect(await child.exited).toBe(130);
	expect(await new Response(child.stderr).text()).toBe("sae: stopped by SIGINT\n");
});

test("piped out it is Arrow that names the command, with or without a run file", async () => {
	const folder = await mkdtemp(join(tmpdir(), "sae-pipes-"));
	await Bun.write(join(folder, "run.toml"), 'source = "synthetic"\nrows = 7\nd_in = 4\nseed = 3\n');
	await shell(`cd ${folder} && sae activations synthetic --rows 7 --d-in 4 --seed 3 > flags.arrow`);
	await shell(`cd ${folder} && sae activations --config run.toml --seed 3 > config.arrow`);
	await shell(`cd ${folder} && sae activations synthetic --rows 7 --d-in 4 --seed 3 --out file.arrow`);
	const tables = await Promise.all(
		["flags", "config", "file"].map(async (name) =>
			tableFromIPC(await Bun.file(join(folder, `${name}.arrow`)).bytes()),
		),
	);
	expect(tables.map((table) => table.schema.metadata.get(META.command))).toEqual([
		"sae activations synthetic --rows 7 --d-in 4 --seed 3",
		"sae activations --config run.toml --seed 3",
		"sae activations synthetic --rows 7 --d-in 4 --seed 3 --out file.arrow",
	]);
	const values = tables.map((table) => JSON.stringify(table.toArray()));
	expect(values[1]).toBe(values[0]!);
	expect(values[2]).toBe(values[0]!);
	expect((await readdir(folder)).sort()).toEqual(["config.arrow", "file.arrow", "flags.arrow", "run.toml"]);
});

test("json is one object a line, csv has a header", async () => {
	const json = await shell("sae activations synthetic --rows 2 --d-in 3 --format json");
	const rows = json.stdout
		.trimEnd()
		.split("\n")
		.map((line) => JSON.parse(line));
	expect(rows.map((row) => row.activation.length)).toEqual([3, 3]);
	const csv = await shell("sae activations synthetic --rows 2 --d-in 3 --format csv");
	expect(csv.stdout.split("\n")[0]).toBe("activation");
	expect(csv.stdout.split("\n")[1]).toBe(`"${JSON.stringify(rows[0].activation)}"`);
});

test("vectors that don't say how wide they are need --d-sae", async () => {
	const polars = join(import.meta.dir, "../fixtures/arrow/polars-list-f32-uncompressed.arrow");
	const ended = await shell(`sae train topk ${polars} --out ${join(tmpdir(), "sae-no-such-run")}`);
	expect(ended).toMatchObject({ stdout: "", exitCode: 2 });
	expect(ended.stderr).toStartWith("sae: --d-sae is required: column activation is");
});
