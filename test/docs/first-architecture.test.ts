/** The page docs/first-architecture.md: its files and commands do what it shows, in shorter runs. */
import { afterAll, beforeAll, expect, test } from "bun:test";
import { cp, mkdir, mkdtemp, rm, symlink } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { ended, shell } from "../cli/sae.ts";

const ROOT = join(import.meta.dir, "../..");
const page = await Bun.file(join(ROOT, "docs/first-architecture.md")).text();

/** Files of the page: blocks that stand behind a name and a colon. */
const files = [...page.matchAll(/`([\w./-]+)`:\n```\w+\n(.*?)```/gs)].map(([, name, text]) => ({
	name: name!,
	text: text!,
}));
const patch = /```diff\n(.*?)```/s.exec(page)![1]!;

/** Commands with what they print, in the page's order. */
const commands = [...page.matchAll(/```console\n(.*?)```/gs)].flatMap(([, block]) =>
	block!
		.split(/^\$ /m)
		.slice(1)
		.map((text) => {
			// A command goes on after a backslash or a pipe.
			const [command] = /^(?:.*[\\|]\n)*.*/.exec(text)!;
			return { command, output: text.slice(command.length + 1) };
		}),
);

/** The same command for a tenth of the rows. */
const shorter = (text: string) =>
	text
		.replace("--tokens 128k", "--tokens 12800")
		.replace("--log-every 100", "--log-every 10")
		.replace("tokens = 128_000", "tokens = 12_800");
/** Numbers and the room they take differ from run to run. */
const shape = (text: string) => text.replaceAll(/ *\d+(\.\d+)?/g, " #");

let folder: string;
beforeAll(async () => {
	folder = await mkdtemp(join(tmpdir(), "sae-first-architecture-"));
});
afterAll(() => rm(folder, { recursive: true }));

const inFolder = (command: string) => shell(`cd ${folder} && ${command}`);
const isNpm = (command: string) => command.includes("npm ");

async function bunTest(cwd: string, ...words: string[]) {
	const cmd = [process.execPath, "test", "--timeout", "120000", ...words];
	return ended(Bun.spawn({ cmd, cwd, stdin: "ignore", stdout: "pipe", stderr: "pipe" }));
}

test("the scaffold with the page's files passes the conformance suite, and its commands print what it shows", async () => {
	const [scaffold, ...rest] = commands;
	expect(scaffold!.command).toStartWith("sae plugin new");
	const { stderr } = await inFolder(scaffold!.command);
	expect(stderr).toBe(scaffold!.output);
	for (const { name, text } of files) await Bun.write(join(folder, name), shorter(text));
	// As npm install would have it.
	const modules = join(folder, "sae-plugin-log-sum/node_modules");
	await mkdir(modules);
	await symlink(ROOT, join(modules, "saeflow"));

	expect(rest.filter(({ command }) => !isNpm(command)).length).toBeGreaterThan(5);
	for (const { command, output } of rest) {
		if (isNpm(command)) {
			const run = await bunTest(join(folder, "sae-plugin-log-sum"));
			const passes = (text: string) => shape(text).match(/^\(pass\).*(?= \[)/gm);
			expect(run.exitCode).toBe(0);
			expect(passes(run.stderr)).toEqual(passes(output));
		} else {
			const run = await inFolder(shorter(command));
			expect({ command, ...run, stdout: shape(run.stdout) }).toMatchObject({
				exitCode: 0,
				stdout: shape(output),
			});
		}
	}
	expect(await Bun.file(join(folder, "pareto.html")).text()).toContain("log-sum");
}, 120_000);

test("the diff makes it a built-in family, whose test passes", async () => {
	const copy = join(folder, "copy");
	for (const part of [
		"cli",
		"core",
		"kernels",
		"plugins",
		"test/plugins",
		"test/reference",
		"package.json",
	]) {
		await cp(join(ROOT, part), join(copy, part), { recursive: true });
	}
	await symlink(join(ROOT, "node_modules"), join(copy, "node_modules"));
	await Bun.write(join(folder, "log-sum.diff"), patch);
	expect(await inFolder("cd copy && git apply --verbose ../log-sum.diff")).toMatchObject({ exitCode: 0 });
	expect(await bunTest(copy, "test/plugins/log-sum.test.ts")).toMatchObject({ exitCode: 0 });
}, 120_000);
