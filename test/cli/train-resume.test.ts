/** Runs that are killed, stopped and resumed end with the bits of the undisturbed one. */
import { afterAll, beforeAll, describe, expect, test } from "bun:test";
import { cp, mkdtemp, readdir, rm } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { randomStream } from "../reference/models.ts";
import { sae } from "./sae.ts";
import {
	checkpointOf,
	EVERYTHING,
	metricsIn,
	stalling,
	trainFrom,
	trainPiped,
	weights,
	writeRows,
} from "./training.ts";

const KILLS = Number(process.env.SAE_TEST_KILLS ?? 4);

let folder: string;
let rows: string;
let undisturbed: Uint8Array;
/** How long the whole run takes when nothing has to be compiled any more, in milliseconds. */
let duration: number;

const path = (name: string) => join(folder, name);
const words = (out: string) => ["topk", ...EVERYTHING, "--out", path(out), "--metrics", path(`${out}.json`)];

beforeAll(async () => {
	folder = await mkdtemp(join(tmpdir(), "sae-resume-"));
	rows = path("rows.arrow");
	await writeRows(rows, 13_000);
	expect((await trainPiped(rows, words("first")).done).exitCode).toBe(0);
	const started = performance.now();
	expect((await trainPiped(rows, words("undisturbed")).done).exitCode).toBe(0);
	duration = performance.now() - started;
	undisturbed = await weights(path("undisturbed"));
}, 120_000);
afterAll(() => rm(folder, { recursive: true }));

const sameBits = async (out: string) => Buffer.from(await weights(path(out))).equals(undisturbed);

test("two runs give the same bits", async () => {
	expect(await sameBits("first")).toBe(true);
});

test(`a run killed at ${KILLS} random moments gives the same bits`, async () => {
	const random = randomStream(20);
	let killed = 0;
	while (killed < KILLS) {
		const run = trainPiped(rows, [...words("killed"), "--resume"]);
		const timer = setTimeout(() => run.train.kill("SIGKILL"), (0.2 + 0.7 * random()) * duration);
		const { exitCode } = await run.done;
		clearTimeout(timer);
		// Killed, or, late in the series, done: then the run starts over.
		if (exitCode === 0) {
			expect(await sameBits("killed")).toBe(true);
			await rm(path("killed"), { recursive: true });
		} else {
			expect(exitCode).toBe(137);
			killed++;
		}
		// Whatever was being written, no half of it may lie under a name that means something.
		const left = await readdir(path("killed"), { recursive: true }).catch(() => []);
		expect(left.filter((name) => !/\.tmp[.-]?\d*$|^training$/.test(name))).toEqual(
			left.filter((name) =>
				/^(cfg\.json|sae_weights\.safetensors|training.checkpoint\.safetensors)$/.test(name),
			),
		);
	}
	const { exitCode, stderr } = await trainPiped(rows, [...words("killed"), "--resume"]).done;
	expect({ exitCode, stderr }).toMatchObject({ exitCode: 0 });
	expect(await sameBits("killed")).toBe(true);
}, 240_000);

test("SIGINT saves, ends with 130, and the run goes on from there to the same bits", async () => {
	const { train, done } = trainPiped(rows, words("stopped"));
	while (!(await Bun.file(checkpointOf(path("stopped"))).exists())) await Bun.sleep(10);
	train.kill("SIGINT");
	const { exitCode, stderr } = await done;
	expect({ exitCode, stderr }).toMatchObject({ exitCode: 130 });
	expect(await sameBits("stopped")).toBe(false);
	expect((await trainPiped(rows, [...words("stopped"), "--resume"]).done).exitCode).toBe(0);
	expect(await sameBits("stopped")).toBe(true);
	const evaluated = (await metricsIn(path("stopped.json"))).at(-1)!;
	expect(evaluated.eval_fvu).toBe((await metricsIn(path("undisturbed.json"))).at(-1)!.eval_fvu!);
});

test("SIGINT does not wait for a stream that stalls", async () => {
	const bytes = await Bun.file(rows).bytes();
	const { train, done } = trainFrom(stalling(bytes.subarray(0, 600_000)), words("stalled"));
	while (!(await Bun.file(checkpointOf(path("stalled"))).exists())) await Bun.sleep(10);
	train.kill("SIGINT");
	expect((await done).exitCode).toBe(130);
	expect((await weights(path("stalled"))).length).toBe(undisturbed.length);
});

describe("resuming a run that is done", () => {
	test("writes its SAE again, also from a stream that has no row left", async () => {
		await cp(path("undisturbed"), path("done"), { recursive: true });
		await rm(path("done/sae_weights.safetensors"));
		expect((await sae(["train", ...words("done"), rows, "--resume"])).exitCode).toBe(0);
		expect(await sameBits("done")).toBe(true);
		const endless = EVERYTHING.toSpliced(EVERYTHING.indexOf("--tokens"), 2);
		const whole = ["train", "topk", rows, ...endless, "--out", path("whole")];
		expect((await sae([...whole])).exitCode).toBe(0);
		const before = await weights(path("whole"));
		await rm(path("whole/sae_weights.safetensors"));
		expect(await sae([...whole, "--resume"])).toMatchObject({ exitCode: 0 });
		expect(await weights(path("whole"))).toEqual(before);
	});
});

describe("resuming with other words is refused", () => {
	const changed = (flag: string, value: string) => {
		const at = EVERYTHING.indexOf(flag);
		return EVERYTHING.with(at + 1, value);
	};
	test.each([
		["--k", "4", "topk: k was 3, now 4"],
		["--d-sae", "96", "topk: d_sae was 64, now 96"],
		["--batch-size", "32", "batch_size was 64, now 32"],
		["--lr", "0.004", "lr was 0.003, now 0.004"],
		["--shuffle-buffer", "500", "shuffle_buffer was 1000, now 500"],
	])("%s %s", async (flag, value, message) => {
		const given = ["train", "topk", rows, ...changed(flag, value), "--out", path("undisturbed"), "--resume"];
		const { exitCode, stderr } = await sae(given);
		expect(exitCode).toBe(2);
		expect(stderr).toContain(`sae: --resume continues the same run, but ${message}\n`);
		expect(await sameBits("undisturbed")).toBe(true);
	});

	test("an option that was not given before", async () => {
		const given = ["train", "topk", rows, ...EVERYTHING, "--seed", "1", "--warmup", "0.5"];
		const { stderr } = await sae([...given, "--out", path("undisturbed"), "--resume"]);
		expect(stderr).toContain("warmup was 0.05, now 0.5; seed was 0, now 1");
	});

	test("rows of another width", async () => {
		const wide = path("wide.arrow");
		await sae(["activations", "synthetic", "--d-in", "24", "--rows", "13000", "--out", wide]);
		const given = ["train", "topk", wide, ...EVERYTHING, "--out", path("undisturbed"), "--resume"];
		const { exitCode, stderr } = await sae(given);
		expect(exitCode).toBe(2);
		expect(stderr).toContain("its rows had 16 values and these have 24");
	});

	test("what decides no bits may change", async () => {
		const given = changed("--log-every", "7");
		await cp(path("undisturbed"), path("logs"), { recursive: true });
		const { exitCode } = await sae(["train", "topk", rows, ...given, "--out", path("logs"), "--resume"]);
		expect(exitCode).toBe(0);
		expect(await sameBits("logs")).toBe(true);
	});
});
