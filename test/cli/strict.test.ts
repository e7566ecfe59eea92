/** Whatever is not understood ends `sae` with one clear line on stderr, an exit code and nothing on stdout. */
import { describe, expect, test } from "bun:test";
import { mkdtemp, readdir } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { EXIT } from "../../core/errors.ts";
import { sae } from "./sae.ts";

const folder = await mkdtemp(join(tmpdir(), "sae-strict-"));
const at = (name: string) => join(folder, name);
await Bun.write(at("unknown.toml"), "d_im = 3\n");
await Bun.write(at("wrong.json"), '{ "rows": "many" } // comments may stand here');
await Bun.write(at("broken.json"), '{ "rows": ');
await Bun.write(at("list.json"), "[1]");
await Bun.write(at("code.ts"), "export default { rows: 1 }");

const synthetic = ["activations", "synthetic"];

// biome-ignore format: one case a line
const cases: readonly [words: string[], exitCode: number, message: string][] = [
	[["traim"], EXIT.usage, "unknown command traim; did you mean train?"],
	[["--verson"], EXIT.usage, "unknown option --verson; did you mean --version?"],
	[["activations"], EXIT.usage, "which source? Write its name right after the verb, e.g. sae activations file"],
	[["activations", "synthetik"], EXIT.usage, "unknown source synthetik; did you mean synthetic?"],
	[[...synthetic, "--activ", "3"], EXIT.usage, "unknown option --activ; did you mean --active?"],
	[[...synthetic, "-x"], EXIT.usage, "unknown option -x"],
	[[...synthetic, "more"], EXIT.usage, "unexpected argument more"],
	[[...synthetic, "--rows"], EXIT.usage, "--rows needs a value: --rows N"],
	[[...synthetic, "--rows", "--seed", "3"], EXIT.usage, "--rows needs a value: --rows N"],
	[[...synthetic, "--rows", "3", "--rows", "4"], EXIT.usage, "--rows is given twice"],
	[[...synthetic, "--rows", "many"], EXIT.usage, '--rows: must be a number, got "many"'],
	[[...synthetic, "--rows", "1.5"], EXIT.usage, "--rows: must be a whole number, got 1.5"],
	[[...synthetic, "--rows", ""], EXIT.usage, '--rows: must be a number, got ""'],
	[[...synthetic, "--noise", "-1"], EXIT.usage, "--noise: must be at least 0, got -1"],
	[[...synthetic, "--no-rows"], EXIT.usage, "--no-rows: --rows is no switch"],
	[[...synthetic, "--format", "xml"], EXIT.usage, '--format: must be one of arrow, parquet, json, csv, table, got "xml"'],
	[["plugins", "--json=maybe"], EXIT.usage, "--json is a switch: give --json or --no-json, without maybe"],
	[["completion"], EXIT.usage, "SHELL is required"],
	[["completion", "csh"], EXIT.usage, 'SHELL: must be one of bash, zsh, fish, got "csh"'],
	[[...synthetic, "--config", at("missing.toml")], EXIT.usage, `--config ${at("missing.toml")}: no such file`],
	[[...synthetic, "--config", at("code.ts")], EXIT.usage, `--config ${at("code.ts")}: must be a .json, .jsonc or .toml file`],
	[[...synthetic, "--config", at("list.json")], EXIT.usage, `--config ${at("list.json")}: must hold options by name`],
	[[...synthetic, "--config", at("broken.json")], EXIT.usage, `--config ${at("broken.json")}: `],
	[[...synthetic, "--config", at("unknown.toml")], EXIT.usage, `${at("unknown.toml")}: unknown option d_im; did you mean d_in?`],
	[[...synthetic, "--config", at("wrong.json")], EXIT.usage, `${at("wrong.json")}: rows: must be a number, got "many"`],
	[["activations", "file", at("missing.npy")], EXIT.data, `${at("missing.npy")}: `],
	[[...synthetic, "--rows", "10", "--out", at("no/such/folder.arrow")], EXIT.data, `${at("no/such/folder.arrow")}: can't be written`],
];

describe("sae", () => {
	test.each(cases)("%j ends with %d", async (words, exitCode, message) => {
		const before = await readdir(folder);
		const ended = await sae(words);
		expect(ended.stderr).toStartWith(`sae: ${message}`);
		expect(ended.stderr.trimEnd()).not.toContain("\n");
		expect(ended.stdout).toBe("");
		expect(ended.exitCode).toBe(exitCode);
		expect(await readdir(folder)).toEqual(before);
	});

	test("each wrong option has its own line", async () => {
		const { stderr } = await sae([...synthetic, "--d-in", "0", "--features", "x"]);
		expect(stderr).toBe(
			'sae: --d-in: must be at least 1, got 0\nsae: --features: must be a number, got "x"\n',
		);
	});

	test("the stack of an error is shown on request only", async () => {
		expect((await sae(["activations", "nope", "--debug"])).stderr).toContain("cli/plugins.ts");
	});
});
