/** What `sae train` makes and what it refuses, as processes. */
import { afterAll, beforeAll, describe, expect, test } from "bun:test";
import { mkdir, mkdtemp, readdir, rm } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { activationsBatch, activationsSchema } from "../../core/arrow/activations.ts";
import { writeArrowFile } from "../../core/arrow/writer.ts";
import { openSafetensors, readFloat32 } from "../../core/files/safetensors.ts";
import { openCheckpoint } from "../../core/train/checkpoint.ts";
import { sae, shell, start } from "./sae.ts";
import { checkpointOf, metricsIn, stalling, trainFrom, weights, writeRows } from "./training.ts";

let folder: string;
let rows: string;
beforeAll(async () => {
	folder = await mkdtemp(join(tmpdir(), "sae-train-"));
	rows = path("rows.arrow");
	await writeRows(rows, 7000);
});
afterAll(() => rm(folder, { recursive: true }));

const path = (name: string) => join(folder, name);
const SMALL = ["--batch-size", "64", "--sample-rows", "512", "--tokens", "6400"];
const TOPK = ["--k", "4", "--d-sae", "64"];

/** Trains into the folder `out`; metrics go beside it as JSON. */
function train(out: string, words: readonly string[], input = rows) {
	return sae(["train", ...words, input, "--out", path(out), "--metrics", path(`${out}.json`)]);
}

/** A file of one batch of rows of width 16, all zero but for what `change` does. */
async function writeChanged(
	name: string,
	count: number,
	change: (data: Float32Array) => void,
): Promise<string> {
	const schema = activationsSchema({ width: 16, type: "float32", columns: [] });
	const data = new Float32Array(count * 16);
	change(data);
	const batch = activationsBatch(schema, { data, rows: count, width: 16, type: "float32" }, {}, 0);
	const batches = (async function* () {
		yield batch;
	})();
	await writeArrowFile({ schema, batches }, path(name));
	return path(name);
}

describe("several SAEs on one stream", () => {
	test("become what each would alone", async () => {
		const both = ["--sae", "topk:k=4", "--sae", "topk:k=2,d-sae=96,name=wide"];
		expect(await train("both", [...both, "--d-sae", "64", ...SMALL])).toMatchObject({ exitCode: 0 });
		expect((await train("one", ["topk", ...TOPK, ...SMALL])).exitCode).toBe(0);
		expect((await train("two", ["topk", "--k", "2", "--d-sae", "96", ...SMALL])).exitCode).toBe(0);
		expect((await readdir(path("both"))).sort()).toEqual(["topk-k4", "training", "wide"]);
		expect(await weights(path("both/topk-k4"))).toEqual(await weights(path("one")));
		expect(await weights(path("both/wide"))).toEqual(await weights(path("two")));
		const logged = await metricsIn(path("both.json"));
		expect(logged.map((row) => `${row.sae} ${row.step}`)).toEqual([
			"topk-k4 50",
			"wide 50",
			"topk-k4 100",
			"wide 100",
		]);
		const alone = await metricsIn(path("two.json"));
		const timeless = ({ sae: _, rate: __, seconds: ___, ...figures }: (typeof alone)[0]) => figures;
		expect(logged.filter((row) => row.sae === "wide").map(timeless)).toEqual(alone.map(timeless));
	});

	test("of one name are refused", async () => {
		const { exitCode, stderr } = await train("twins", ["--sae", "topk:k=4", "--sae", "topk:k=4", ...SMALL]);
		expect(exitCode).toBe(2);
		expect(stderr).toContain("two SAEs called topk-k4; add name=");
	});
});

describe("held-out rows", () => {
	test("give the FVU that sae eval finds on them", async () => {
		const words = [...TOPK, ...SMALL, "--eval-rows", "192", "--eval-every", "30", "--log-every", "100"];
		await train("held", ["topk", ...words, "--shuffle-buffer", "0"]);
		const logged = await metricsIn(path("held.json"));
		expect(logged.map(({ step, fvu, eval_fvu }) => [step, fvu !== null, eval_fvu !== null])).toEqual([
			[30, false, true],
			[60, false, true],
			[90, false, true],
			[100, true, true],
		]);
		// Without a shuffle they are the first rows.
		const { stdout } = await shell(
			`sae activations file ${rows} --rows 0:192 | sae eval reconstruction ${path("held")} --format json`,
		);
		const { fvu, l0 } = JSON.parse(stdout);
		expect(logged.at(-1)!.eval_fvu).toBeCloseTo(fvu, 4);
		expect(logged.at(-1)!.eval_l0).toBeCloseTo(l0, 4);
		expect(fvu).toBeLessThan(0.6);
	});

	test("can't be had from rows that come again, or from less than a batch", async () => {
		const repeated = await shell(
			`sae activations file ${rows} --epochs 2 | sae train topk ${SMALL.join(" ")} --eval-rows 128 --out ${path("again")}`,
		);
		expect(repeated.exitCode).toBe(2);
		expect(repeated.stderr).toContain("the stream repeats its rows (--epochs)");
		const { exitCode, stderr } = await train("less", ["topk", ...TOPK, ...SMALL, "--eval-rows", "63"]);
		expect(exitCode).toBe(2);
		expect(stderr).toContain("--eval-rows 63 is less than one batch of 64 rows");
		expect(await readdir(folder)).not.toContain("again");
	});
});

test("--init-from goes on from an SAE's weights", async () => {
	await train("first", ["topk", ...TOPK, ...SMALL]);
	const still = ["--tokens", "64", "--lr", "1e-12", "--batch-size", "64", "--sample-rows", "512"];
	expect((await train("second", ["topk", "--k", "4", ...still, "--init-from", path("first")])).exitCode).toBe(
		0,
	);
	const [first, second] = [
		await openSafetensors(path("first/sae_weights.safetensors")),
		await openSafetensors(path("second/sae_weights.safetensors")),
	];
	for (const name of ["W_enc", "b_enc", "W_dec", "b_dec"]) {
		const before = await readFloat32(first, name);
		for (const [i, value] of (await readFloat32(second, name)).entries())
			expect(value).toBeCloseTo(before[i]!, 5);
	}
	await Promise.all([first.close(), second.close()]);
	const other = await train("third", ["topk", "--d-sae", "96", ...still, "--init-from", path("first")]);
	expect(other.exitCode).toBe(2);
	expect(other.stderr).toContain(
		"--init-from holds an SAE of d_in 16, d_sae 64; this run is d_in 16, d_sae 96",
	);
});

test("a reader of the metrics that goes away does not end the training", async () => {
	const { exitCode, stderr } = await shell(
		`sae train topk ${rows} ${[...TOPK, ...SMALL].join(" ")} --log-every 1 --out ${path("unread")} | head -c 100 >/dev/null; exit "\${PIPESTATUS[0]}"`,
	);
	expect({ exitCode, stderr }).toMatchObject({ exitCode: 0 });
	expect(stderr).toContain("nobody reads the metrics any more; training goes on");
	expect((await weights(path("unread"))).length).toBeGreaterThan(8192);
});

describe("a loss that is no number any more", () => {
	test("ends the run, and the last good state stays", async () => {
		const words = ["topk", ...TOPK, ...SMALL, "--lr", "1e30", "--warmup", "0", "--checkpoint-every", "1"];
		const { exitCode, stderr } = await train("wild", words);
		expect(exitCode).toBe(5);
		expect(stderr).toContain("the loss stopped being finite by step 2: try a lower --lr");
		expect(await readdir(path("wild"))).toEqual(["training"]);
		const checkpoint = await openCheckpoint(checkpointOf(path("wild")));
		expect(checkpoint.state.step).toBe(1);
		for (const array of Object.values(await checkpoint.arrays("topk")))
			expect(array.every((value) => Number.isFinite(value))).toBe(true);
		await checkpoint.close();
	});

	test("is noticed at the end of a stream too, and when the stream stalls", async () => {
		const words = ["topk", ...TOPK, "--batch-size", "64", "--sample-rows", "64", "--shuffle-buffer", "0"];
		const wild = [...words, "--lr", "1e30", "--metrics", path("wild.json"), "--out"];
		const bytes = await Bun.file(rows).bytes();
		const stalled = await trainFrom(stalling(bytes.subarray(0, 200_000)), [...wild, path("slow")]).done;
		const few = ["activations", "file", rows, "--rows", "0:192"];
		const short = await trainFrom(start(few).stdout, [...wild, path("short")]).done;
		for (const { stderr, exitCode } of [stalled, short]) {
			expect(exitCode).toBe(5);
			expect(stderr.trim().split("\n").at(-1)).toStartWith("sae: the loss stopped being finite");
			expect(stderr).not.toContain("    at ");
		}
		const left = await readdir(folder);
		expect(left.filter((name) => name === "short" || name === "slow")).toEqual([]);
	});
});

describe("refused in one clear line, with nothing written", () => {
	const line = (stderr: string) => stderr.split("\n").filter((text) => text.startsWith("sae: "));

	async function expectRefused(
		out: string,
		words: string[],
		input: string,
		exitCode: number,
		message: string,
	) {
		const ended = await train(out, words, input);
		expect({ exitCode: ended.exitCode, message: line(ended.stderr) }).toEqual({
			exitCode,
			message: [expect.stringContaining(message)],
		});
		expect(ended.stderr).not.toContain("    at ");
		expect(await readdir(folder)).not.toContain(out);
		expect(await readdir(folder)).not.toContain(`${out}.json`);
	}

	test("a row that holds NaN, at the beginning and in mid-run", async () => {
		for (const row of [5, 3000]) {
			const bad = await writeChanged("bad.arrow", 3200, (data) => {
				for (const i of data.keys()) data[i] = Math.sin(i * i);
				data[row * 16 + 3] = Number.NaN;
			});
			const words = ["topk", ...TOPK, ...SMALL, "--shuffle-buffer", "256"];
			await expectRefused("nan", words, bad, 3, `row ${row} holds NaN or infinity (value 3)`);
		}
	});

	test("rows that are all zero", async () => {
		const zero = await writeChanged("zero.arrow", 640, () => {});
		await expectRefused(
			"zero",
			["topk", ...TOPK, ...SMALL],
			zero,
			3,
			"column activation: its first rows are all zero",
		);
	});

	test("too few rows", async () => {
		const few = await writeChanged("few.arrow", 100, (data) => data.fill(1));
		const words = ["topk", ...TOPK, "--batch-size", "101"];
		await expectRefused("few", words, few, 3, "the stream has too few rows: 0 batches of 101, 1 are needed");
		const held = ["topk", ...TOPK, "--batch-size", "50", "--eval-rows", "100"];
		await expectRefused("few", held, few, 3, "2 batches of 50, 3 are needed");
	});

	test("what makes no sense together", async () => {
		await expectRefused(
			"no",
			["topk", "--k", "65", "--d-sae", "64"],
			rows,
			2,
			"k 65 is larger than d_sae 64",
		);
		await expectRefused(
			"no",
			["topk", "--tokens", "10"],
			rows,
			2,
			"--tokens 10 is less than one batch of 1024 rows",
		);
		await expectRefused("no", ["topk", "--sae", "topk"], rows, 2, "not both");
	});

	test("a folder that holds something", async () => {
		await mkdir(path("full"));
		await Bun.write(path("full/notes.txt"), "mine");
		const refused = await train("full", ["topk", ...TOPK, ...SMALL]);
		expect(refused.exitCode).toBe(2);
		expect(line(refused.stderr)).toEqual([
			`sae: ${path("full")} is not empty: --resume continues its run, --overwrite starts over`,
		]);
		expect(await readdir(path("full"))).toEqual(["notes.txt"]);
		expect((await train("full", ["topk", ...TOPK, ...SMALL, "--overwrite"])).exitCode).toBe(0);
		expect(await Bun.file(path("full/notes.txt")).text()).toBe("mine");
	});
});

test("a stream that ends early is warned about, and its SAE kept", async () => {
	const words = ["topk", ...TOPK, "--batch-size", "64", "--sample-rows", "512", "--tokens", "70000"];
	const { exitCode, stderr } = await train("early", words);
	expect(exitCode).toBe(0);
	expect(stderr).toContain("the stream ended after 6976 of 70000 rows");
	expect(await readdir(path("early"))).toContain("sae_weights.safetensors");
});
