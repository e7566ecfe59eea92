/** Sweeps as processes: their table, their groups, and how they go on after any end. */
import { afterAll, beforeAll, describe, expect, test } from "bun:test";
import { cp, mkdtemp, readdir, rm, stat } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { randomStream } from "../reference/models.ts";
import { ended, sae, shell, start } from "./sae.ts";
import { metricsIn, weights, writeRows } from "./training.ts";

const KILLS = Number(process.env.SAE_TEST_KILLS ?? 3);

let folder: string;
let rows: string;
const path = (name: string) => join(folder, name);

const TRAINER = [
	"--tokens",
	"12.8k",
	"--batch-size",
	"64",
	"--sample-rows",
	"512",
	"--checkpoint-every",
	"20",
];
const HELD_OUT = ["--eval-rows", "128", "--eval-every", "1000"];
const GRID = ["--sae", "topk --k 2,4", "--d-sae", "32", "--seed", "1,2"];
/** Enough for two of these SAEs, not for three. */
const TIGHT = ["--memory", "500k"];

/** Words of a sweep into the folder `out`, whose table goes beside it as JSON. */
const words = (out: string, grid: readonly string[] = GRID) => [
	...["sweep", rows, ...grid, ...TRAINER, ...HELD_OUT],
	...["--out", path(out), "--metrics", path(`${out}.json`)],
];

/** The table that a sweep left, without what differs from run to run. */
async function tableOf(out: string) {
	const table = await metricsIn(path(`${out}.json`));
	return table.map(({ seconds: _, path: __, ...row }) => row);
}

const bitsOf = async (out: string, name: string) =>
	Buffer.from(await weights(join(path(out), name))).toString("base64");

const names: string[] = [];
let undisturbed: { table: Awaited<ReturnType<typeof tableOf>>; bits: string[]; duration: number };

beforeAll(async () => {
	folder = await mkdtemp(join(tmpdir(), "sae-sweep-"));
	rows = path("rows.arrow");
	await writeRows(rows, 13_000);
	const started = performance.now();
	const { exitCode, stderr } = await sae([...words("undisturbed"), ...TIGHT]);
	expect({ exitCode, stderr }).toMatchObject({ exitCode: 0 });
	const duration = performance.now() - started;
	const table = await tableOf("undisturbed");
	names.push(...table.map(({ sae }) => String(sae)));
	undisturbed = {
		table,
		bits: await Promise.all(names.map((name) => bitsOf("undisturbed", name))),
		duration,
	};
}, 120_000);
afterAll(() => rm(folder, { recursive: true }));

async function expectUndisturbed(out: string) {
	expect(await tableOf(out)).toEqual(undisturbed.table);
	expect(await Promise.all(names.map((name) => bitsOf(out, name)))).toEqual(undisturbed.bits);
}

describe("the table", () => {
	test("has a row for every SAE, with what it was made of and how it did", async () => {
		const table = await metricsIn(path("undisturbed.json"));
		expect(table.map(({ k, d_sae, seed }) => `${k} ${d_sae} ${seed}`)).toEqual([
			"2 32 1",
			"2 32 2",
			"4 32 1",
			"4 32 2",
		]);
		for (const row of table) {
			expect(row).toMatchObject({
				architecture: "topk",
				lr: null,
				tokens: 12_800,
				l0: row.k!,
				eval_l0: row.k!,
			});
			expect(row.path).toBe(join(path("undisturbed"), String(row.sae)));
			expect(row.fvu).toBeGreaterThan(0);
			expect(row.seconds).toBeGreaterThan(0);
		}
		const [two, four] = [2, 4].map((k) =>
			Math.min(...table.filter((row) => row.k === k).map((row) => Number(row.fvu))),
		);
		expect(four!).toBeLessThan(two!);
	});

	test("has each SAE as it would be alone", async () => {
		const one = ["--sae", "topk:k=4,d-sae=32,seed=2,name=one", ...TRAINER, ...HELD_OUT, "--seed", "1"];
		const alone = ["train", ...one, rows, "--out", path("alone"), "--metrics", path("alone.json")];
		expect((await sae(alone)).exitCode).toBe(0);
		expect(await bitsOf("alone", "one")).toBe(undisturbed.bits.at(-1)!);
		const last = (await metricsIn(path("alone.json"))).at(-1)!;
		const { fvu, eval_fvu, l0, dead } = undisturbed.table.at(-1)!;
		expect({ fvu, eval_fvu, l0, dead }).toEqual({
			fvu: last.fvu!,
			eval_fvu: last.eval_fvu!,
			l0: last.l0!,
			dead: last.dead!,
		});
	});

	test("is the same from one group, which a pipe can feed", async () => {
		const [, , ...rest] = words("whole");
		const piped = start(["activations", "file", rows]);
		const { exitCode, stderr } = await ended(start(["sweep", ...rest], {}, piped.stdout));
		expect({ exitCode, stderr }).toMatchObject({ exitCode: 0 });
		await expectUndisturbed("whole");
		expect(await readdir(path("whole/training"))).toEqual(["1.jsonl"]);
	});

	test("comes in the form that is asked for, and options that differ are columns", async () => {
		const spec = ["--sae", "topk --k 2 --lr 0.01", "--sae", "topk --aux-weight 0,0.5", "--d-sae", "32"];
		const { stdout } = await sae([
			"sweep",
			rows,
			...spec,
			"--tokens",
			"640",
			"--batch-size",
			"64",
			"--out",
			path("csv"),
			"--format",
			"csv",
		]);
		const [header, ...lines] = stdout.trim().split("\n");
		expect(header).toBe(
			"sae,architecture,d_sae,seed,lr,k,aux_weight,tokens,fvu,eval_fvu,l0,eval_l0,dead,seconds,path",
		);
		expect(lines.map((line) => line.split(",").slice(4, 7))).toEqual([
			["0.01", "2", "0.03125"],
			["", "32", "0"],
			["", "32", "0.5"],
		]);
	});
});

test("an SAE that diverges leaves the others alone, and has a row without figures", async () => {
	const grid = ["--sae", "topk --k 2", "--d-sae", "32", "--lr", "1e-3,1e30", "--warmup", "0"];
	const { exitCode, stderr } = await sae(words("wild", grid));
	expect({ exitCode, stderr }).toMatchObject({ exitCode: 0 });
	expect(stderr).toContain("topk-k2-d-sae32-seed0-lr1e30: its loss stopped being finite by step");
	expect((await sae(words("tame", grid.with(5, "1e-3")))).exitCode).toBe(0);
	const [good, bad] = await tableOf("wild");
	expect([good]).toEqual(await tableOf("tame"));
	expect(bad).toMatchObject({ lr: 1e30, fvu: null, eval_fvu: null, l0: null, dead: null });
	expect((await readdir(path("wild"))).sort()).toEqual([
		"sweep.json",
		"topk-k2-d-sae32-seed0-lr0.001",
		"training",
	]);
});

/** A sweep that gets SIGINT once its first group has a training state. */
async function stopped(out: string, further: readonly string[]) {
	const run = start([...words(out), ...further]);
	const done = ended(run);
	while (run.exitCode === null && !(await Bun.file(path(`${out}/training/1.safetensors`)).exists()))
		await Bun.sleep(10);
	run.kill("SIGINT");
	return done;
}

test("SAEs of one sweep may have an L0 of their own to reach", async () => {
	const grid = ["--sae", "topk --k 2", "--sae", "relu --target-l0 2,6", "--d-sae", "32"];
	expect(await sae(words("reached", grid))).toMatchObject({ exitCode: 0 });
	const table = await tableOf("reached");
	expect(table.map(({ architecture, k, target_l0 }) => [architecture, k, target_l0])).toEqual([
		["topk", 2, null],
		["relu", null, 2],
		["relu", null, 6],
	]);
	const [, two, six] = table.map(({ eval_l0 }) => Number(eval_l0));
	expect(two!).toBeWithin(1, 4);
	expect(six!).toBeWithin(5, 8);
});

describe("going on", () => {
	test(`after ${KILLS} kills at random moments gives the same table and the same bits`, async () => {
		const random = randomStream(11);
		let killed = 0;
		while (killed < KILLS) {
			const run = start([...words("killed"), ...TIGHT, "--resume"]);
			const done = ended(run);
			const timer = setTimeout(() => run.kill("SIGKILL"), (0.2 + 0.6 * random()) * undisturbed.duration);
			const { exitCode } = await done;
			clearTimeout(timer);
			if (exitCode === 0) {
				await expectUndisturbed("killed");
				await rm(path("killed"), { recursive: true });
			} else {
				expect(exitCode).toBe(137);
				killed++;
			}
		}
		const { exitCode, stderr } = await sae([...words("killed"), ...TIGHT, "--resume"]);
		expect({ exitCode, stderr }).toMatchObject({ exitCode: 0 });
		await expectUndisturbed("killed");
	}, 240_000);

	test("after SIGINT in the first group too, with other memory for those that have not begun", async () => {
		expect((await stopped("stopped", ["--memory", "300k"])).exitCode).toBe(130);
		expect((await sae([...words("stopped"), "--resume"])).exitCode).toBe(0);
		await expectUndisturbed("stopped");
		expect((await readdir(path("stopped/training"))).sort()).toEqual(["1.jsonl", "2.jsonl"]);
	});

	test("may ask for more, and trains only that", async () => {
		await cp(path("undisturbed"), path("more"), { recursive: true });
		const weightsFile = join(path("more"), names[0]!, "sae_weights.safetensors");
		const { mtimeMs } = await stat(weightsFile);
		const { exitCode, stderr } = await sae([...words("more", [...GRID, "--sae", "topk --k 3"]), "--resume"]);
		expect({ exitCode, stderr }).toMatchObject({ exitCode: 0 });
		expect(stderr).toContain("2 SAEs to train");
		const table = await tableOf("more");
		expect(table.slice(0, 4)).toEqual(undisturbed.table);
		expect(table.slice(4).map(({ k, fvu }) => [k, Number(fvu) > 0])).toEqual(Array(2).fill([3, true]));
		expect((await stat(weightsFile)).mtimeMs).toBe(mtimeMs);
	});

	test("with nothing left to train prints the table again", async () => {
		await cp(path("undisturbed"), path("again"), { recursive: true });
		expect((await sae([...words("again"), "--resume"])).exitCode).toBe(0);
		expect(await tableOf("again")).toEqual(undisturbed.table);
	});

	test("is refused with other options, or without an SAE that is half trained", async () => {
		const changed = words("undisturbed").with(words("x").indexOf("12.8k"), "6.4k");
		const { exitCode, stderr } = await sae([...changed, "--resume"]);
		expect(exitCode).toBe(2);
		expect(stderr).toContain("--resume continues the same sweep, but tokens was 12800, now 6400");

		expect((await stopped("half", TIGHT)).exitCode).toBe(130);
		const fewer = await sae([...words("half", GRID.with(1, "topk --k 4")), "--resume"]);
		expect(fewer.exitCode).toBe(2);
		expect(fewer.stderr).toContain("topk-k2-d-sae32-seed1 is half trained, so it can't be left out");
	});
});

describe("refused in one clear line, with nothing written", () => {
	// biome-ignore format: one case a line
	test.each([
		["--d-sae 32,x", '--d-sae.1: must be a number, got "x"'],
		["--lr 0", "--lr.0: must be more than 0, got 0"],
		["--sae tpok", "unknown architecture tpok; did you mean topk?"],
		["--sae 'topk --d-sae 8'", "k 32 is larger than d_sae 8"],
		["--column token", "no column token"],
	])("%s", async (extra, message) => {
		const { exitCode, stderr } = await shell(`sae sweep ${rows} --sae 'topk --k 2' ${extra} --out ${path("no")}`);
		expect({ exitCode, stderr }).toEqual({ exitCode: expect.any(Number), stderr: expect.stringContaining(message) });
		expect([2, 3]).toContain(exitCode);
		expect(await readdir(folder)).not.toContain("no");
	});

	test("a pipe that would have to be read twice", async () => {
		const grid = "--sae 'topk --k 2,3,4' --d-sae 64 --batch-size 128 --memory 700k";
		const { exitCode, stderr } = await shell(
			`sae activations file ${rows} | sae sweep ${grid} --out ${path("no")}`,
		);
		expect(exitCode).toBe(2);
		expect(stderr).toMatch(
			/can be read only once, but 3 SAEs need 2 passes: 2 fit at once into 700 kB\. Write the rows/,
		);
		expect(await readdir(folder)).not.toContain("no");
	});

	test("a folder that holds something, unless it may go", async () => {
		await cp(path("undisturbed"), path("full"), { recursive: true });
		const refused = await sae(words("full"));
		expect(refused.exitCode).toBe(2);
		expect(refused.stderr).toContain(
			"full is not empty: --resume continues its sweep, --overwrite starts over",
		);
		const grid = ["--sae", "topk --k 2", "--d-sae", "32"];
		expect((await sae([...words("full", grid), "--overwrite"])).exitCode).toBe(0);
		expect((await tableOf("full")).length).toBe(1);
	});

	test("a state that is none", async () => {
		await Bun.write(path("odd/sweep.json"), "{}");
		const { exitCode, stderr } = await sae([...words("odd"), "--resume"]);
		expect(exitCode).toBe(3);
		expect(stderr).toContain("sweep.json: is not the state of a sweep of this version");
	});
});
