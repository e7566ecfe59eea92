/**
 * The examples for schedulers are run: by Slurm and Snakemake where they are installed, else their commands are run
 * with the variables that those would set. There is no Kubernetes to run a Job; its command is run likewise.
 */
import { afterAll, beforeAll, expect, test } from "bun:test";
import { mkdir, mkdtemp, readdir, rm, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { type Ended, ended, MAIN, sae } from "../cli/sae.ts";
import { hasSlurm, type Slurm, startSlurm } from "./slurm.ts";

const EXAMPLES = join(import.meta.dir, "../../examples");
const ROWS = ["synthetic", "--d-in", "16", "--rows", "1000"];

let folder: string;
beforeAll(async () => {
	folder = await mkdtemp(join(tmpdir(), "sae-examples-"));
	await mkdir(join(folder, "bin"));
	const script = `#!/bin/sh\nexec "${process.execPath}" "${MAIN}" "$@"\n`;
	await writeFile(join(folder, "bin/sae"), script, { mode: 0o755 });
});
afterAll(() => rm(folder, { recursive: true, force: true }));

/** Runs a command in a folder of its own, where `sae` is the real one. */
function run(
	cmd: readonly string[],
	cwd: string,
	env: Readonly<Record<string, string>> = {},
): Promise<Ended> {
	const PATH = `${join(folder, "bin")}:${env.PATH ?? process.env.PATH}`;
	return ended(
		Bun.spawn({
			cmd: [...cmd],
			cwd,
			env: { ...process.env, ...env, PATH },
			stdin: "ignore",
			stdout: "pipe",
			stderr: "pipe",
		}),
	);
}

async function workFolder(name: string): Promise<string> {
	const path = join(folder, name);
	await mkdir(path);
	return path;
}

/** The folder has these parts, which together are the rows of the source, as float16. */
async function expectAll(cache: string, parts: readonly string[]): Promise<void> {
	expect((await readdir(cache)).toSorted()).toEqual([...parts]);
	const whole = join(folder, `whole-${Bun.hash(cache)}`);
	await sae(["activations", ...ROWS, "--out", `${whole}.arrow`]);
	await sae(["shard", `${whole}.arrow`, "--dtype", "f16", "--out", whole]);
	const rows = (path: string) => sae(["activations", "file", path, "--verify", "--format", "csv"]);
	const [joined, expected] = [await rows(cache), await rows(whole)];
	expect(joined.exitCode).toBe(0);
	expect(joined.stdout.split("\n").length).toBe(1002);
	expect(Bun.hash(joined.stdout)).toBe(Bun.hash(expected.stdout));
}

test(`Slurm: an array harvests every row once (${hasSlurm ? "sbatch" : "its variables"})`, async () => {
	const work = await workFolder("slurm");
	const cache = join(work, "cache");
	const script = join(EXAMPLES, "slurm/harvest.sbatch");
	const words = [script, cache, ...ROWS];
	if (hasSlurm) {
		let slurm: Slurm | undefined;
		try {
			slurm = await startSlurm(work);
			const given = ["--gres=none", "--cpus-per-task=1", "--mem=100M", "--time=5", "--array=3-5", "--wait"];
			const { exitCode, stderr } = await run(["sbatch", ...given, ...words], work, slurm.env);
			expect([exitCode, stderr]).toEqual([0, ""]);
		} finally {
			await slurm?.stop();
		}
	} else {
		for (const id of ["3", "4", "5"]) {
			const env = { SLURM_ARRAY_TASK_ID: id, SLURM_ARRAY_TASK_MIN: "3", SLURM_ARRAY_TASK_COUNT: "3" };
			const { exitCode, stderr } = await run(["bash", ...words], work, env);
			expect([exitCode, stderr]).toEqual([0, expect.stringContaining(`SLURM_ARRAY_TASK_ID=${id}`)]);
		}
	}
	await expectAll(cache, ["3", "4", "5"]);
});

interface Job {
	readonly spec: {
		readonly completions: number;
		readonly template: {
			readonly spec: {
				readonly containers: readonly [
					{ readonly command: readonly string[]; readonly env: readonly { name: string; value: string }[] },
				];
			};
		};
	};
}

test("Kubernetes: the pods of the indexed Job harvest every row once, those started again too", async () => {
	const work = await workFolder("kubernetes");
	const text = await Bun.file(join(EXAMPLES, "kubernetes/indexed-job.yaml")).text();
	const { spec } = Bun.YAML.parse(text) as Job;
	const [{ command, env }] = spec.template.spec.containers;
	const variables = Object.fromEntries(env.map(({ name, value }) => [name, value]));
	const OUT = join(work, "cache");
	const indexes = Array.from({ length: spec.completions }, (_, i) => `${i}`);
	for (const JOB_COMPLETION_INDEX of [...indexes, "2"]) {
		const own = { ...variables, OUT, SOURCE: ROWS.join(" "), JOB_COMPLETION_INDEX };
		const { exitCode, stderr } = await run(command, work, own);
		expect([exitCode, stderr]).toEqual([
			0,
			expect.stringContaining(`JOB_COMPLETION_INDEX=${JOB_COMPLETION_INDEX}`),
		]);
	}
	await expectAll(OUT, indexes);
}, 60_000);

const CONFIG = {
	parts: "2",
	source: ROWS.join(" "),
	train: "topk --d-sae 32 --k 4 --tokens 512 --batch-size 256",
};

/** The shell commands of the Snakefile with what Snakemake would put into them, in their order. */
async function commandsOf(snakefile: string): Promise<string[]> {
	const text = await Bun.file(snakefile).text();
	const commands = [...text.matchAll(/shell:\n((?:\t| {8})+"[^"]*"\n)+/g)].map(([block]) =>
		[...block.matchAll(/"([^"]*)"/g)].map(([, piece]) => piece).join(""),
	);
	const filled = (command: string, part: string) =>
		command
			.replaceAll(/\{params\.(\w+)\}/g, (_, key: keyof typeof CONFIG) => CONFIG[key])
			.replaceAll("{wildcards.part}", part);
	const [harvest, train] = commands as [string, string];
	return [filled(harvest, "1"), filled(harvest, "2"), filled(train, "")];
}

const hasSnakemake = Bun.which("snakemake") !== null;

test(`Snakemake: from a source to an SAE (${hasSnakemake ? "snakemake" : "its commands"})`, async () => {
	const work = await workFolder("snakemake");
	const snakefile = join(EXAMPLES, "snakemake/Snakefile");
	if (hasSnakemake) {
		const config = Object.entries(CONFIG).map(([key, value]) => `${key}=${value}`);
		const { exitCode, stderr } = await run(
			["snakemake", "--snakefile", snakefile, "--cores", "1", "--config", ...config],
			work,
		);
		expect([exitCode, stderr]).toEqual([0, expect.stringContaining("4 of 4 steps")]);
	} else {
		for (const command of await commandsOf(snakefile)) {
			const { exitCode, stderr } = await run(["bash", "-euo", "pipefail", "-c", command], work);
			expect([command, exitCode, stderr]).toEqual([command, 0, expect.anything()]);
		}
	}
	await expectAll(join(work, "cache"), ["1", "2"]);
	expect((await Bun.file(join(work, "sae/cfg.json")).json()).d_sae).toBe(32);
}, 60_000);
