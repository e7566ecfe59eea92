/** `sae shard` as a process: what it says, and what is left when it is killed. */
import { afterAll, expect, test } from "bun:test";
import { mkdtemp, readdir, rm } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { readManifest } from "../../core/shards/manifest.ts";
import { sae, shell, start } from "./sae.ts";
import { stalling } from "./training.ts";

const folder = await mkdtemp(join(tmpdir(), "sae-shard-"));
afterAll(() => rm(folder, { recursive: true }));

const SOURCE = "sae activations synthetic --d-in 16 --batch-rows 1000 --rows";

test("rows go through shards unchanged; their size is said before", async () => {
	const out = join(folder, "whole");
	const { stderr, exitCode } = await shell(
		`set -o pipefail; ${SOURCE} 5000 | sae shard --rows-per-shard 2000 --out ${out}`,
	);
	expect([exitCode, stderr]).toEqual([
		0,
		expect.stringContaining("5000 rows of 64 bytes: 320 kB in 3 shards of up to 2000 rows (128 kB)"),
	]);
	const same = await shell(
		`cmp <(${SOURCE} 5000 --format csv) <(sae activations file ${out} --verify --format csv)`,
	);
	expect(same.exitCode).toBe(0);
	expect((await readManifest(out))!.source).toBe(
		"sae activations synthetic --d-in 16 --batch-rows 1000 --rows 5000",
	);
});

test("what can't fit on the disk is not begun", async () => {
	const out = join(folder, "huge");
	const { stderr, exitCode } = await shell(`${SOURCE} 100T | sae shard --out ${out}`);
	expect([exitCode, stderr]).toEqual([
		3,
		expect.stringContaining("100000000000000 rows of 64 bytes need 6.40 PB"),
	]);
	expect(await readdir(out)).toEqual([]);
});

test.each(["SIGKILL", "SIGTERM"] as const)("after %s it goes on to the same shards", async (signal) => {
	const stream = join(folder, `${signal}.arrows`);
	await shell(`${SOURCE} 8000 > ${stream}`);
	const bytes = await Bun.file(stream).bytes();
	const out = join(folder, signal);
	const words = ["--rows-per-shard", "1500", "--out"];
	const killed = start(["shard", ...words, out], {}, stalling(bytes.subarray(0, bytes.length / 2)));
	while (!(await readdir(out).catch(() => [] as string[])).includes("shard-00001.arrow")) await Bun.sleep(5);
	killed.kill(signal);
	expect(await killed.exited).toBe(signal === "SIGKILL" ? 137 : 130);
	expect(await readManifest(out)).toBeUndefined();
	const unfinished = await sae(["activations", "file", out]);
	expect([unfinished.exitCode, unfinished.stderr]).toEqual([
		3,
		expect.stringContaining("sae shard --resume"),
	]);

	const resumed = await sae(["shard", stream, ...words, out, "--resume"]);
	expect([resumed.exitCode, resumed.stderr]).toEqual([
		0,
		expect.stringMatching(/goes on after \d shards? with/),
	]);
	const whole = join(folder, `${signal}-whole`);
	await sae(["shard", stream, ...words, whole]);
	expect((await readManifest(out))!.shards).toEqual((await readManifest(whole))!.shards);
	expect((await sae(["activations", "file", out, "--verify", "--limit", "0"])).exitCode).toBe(0);
});
