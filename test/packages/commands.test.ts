/** What commands do with packages that are installed and listed. */
import { afterAll, beforeAll, describe, expect, test } from "bun:test";
import { mkdir, mkdtemp, readFile, realpath, rm, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { ended, MAIN } from "../cli/sae.ts";
import { SEVENS, writePackage } from "./packages.ts";

let root: string;
beforeAll(async () => {
	root = await realpath(await mkdtemp(join(tmpdir(), "sae-plugins-")));
});
afterAll(() => rm(root, { recursive: true }));

/** A project with these packages, and the files of its own. */
async function project(
	name: string,
	packages: Readonly<Record<string, Parameters<typeof writePackage>[2]>>,
	files: Readonly<Record<string, string>> = {},
): Promise<string> {
	const folder = join(root, name);
	await mkdir(folder);
	for (const [one, contents] of Object.entries(packages)) {
		await writePackage(join(folder, "node_modules"), one, contents);
	}
	for (const [path, text] of Object.entries(files)) await writeFile(join(folder, path), text);
	return folder;
}

/** Runs `sae` in a folder, and says whether a package's code ran. */
async function saeIn(folder: string, ...words: string[]) {
	const trace = join(folder, "trace");
	await rm(trace, { force: true });
	const result = await ended(
		Bun.spawn({
			cmd: [process.execPath, MAIN, ...words],
			cwd: folder,
			env: { ...process.env, TRACE: trace },
			stdin: "ignore",
			stdout: "pipe",
			stderr: "pipe",
		}),
	);
	return { ...result, ran: await Bun.file(trace).exists() };
}

const ROWS = ["--format", "csv"];
const CLASHING = { json: { sae: { apiVersion: 1, provides: ["source:sevens", "source:file"] } } };

describe("an installed plugin", () => {
	test("is listed with its package, in help too, and only naming it runs its code", async () => {
		const folder = await project("used", { "sae-plugin-sevens": {} });
		const list = await saeIn(folder, "plugins");
		expect(list).toMatchObject({ ran: false, stderr: "", exitCode: 0 });
		expect(list.stdout).toMatch(
			/source[^\n]*:\n {2}file +saeflow \S+\n {2}synthetic +saeflow \S+\n {2}transformer +saeflow \S+\n {2}sevens +sae-plugin-sevens 1\.2\.3: Sevens\n/,
		);
		const json = await saeIn(folder, "plugin", "list", "--json");
		expect(JSON.parse(json.stdout)).toContainEqual({
			kind: "source",
			name: "sevens",
			package: "sae-plugin-sevens",
			version: "1.2.3",
			description: "Sevens",
		});
		const help = await saeIn(folder, "activations", "--help");
		expect(help).toMatchObject({ ran: false, stderr: "" });
		expect(help.stdout).toMatch(/\n {2}sevens +Sevens \(sae-plugin-sevens 1\.2\.3\)\n/);
		expect(await saeIn(folder, "complete", "activations", "sev")).toMatchObject({
			ran: false,
			stdout: "sevens\tSevens (sae-plugin-sevens 1.2.3)\n",
		});
		expect((await saeIn(folder, "activations", "synthetic", "--rows", "1", ...ROWS)).ran).toBe(false);

		const own = await saeIn(folder, "activations", "sevens", "--help");
		expect(own.stdout).toMatch(
			/Options of the source sevens:\n {2}--rows N +How many sevens \(default 2\)\n/,
		);
		const rows = await saeIn(folder, "activations", "sevens", "--rows", "3", "--start", "1", ...ROWS);
		expect(rows).toMatchObject({ ran: true, stderr: "", exitCode: 0 });
		expect(rows.stdout.match(/7/g)).toHaveLength(4);
	});

	test("that names a built-in one is not used, and that is said when the name is used", async () => {
		const folder = await project("clash", { "sae-plugin-sevens": CLASHING });
		const { stderr, exitCode, ran } = await saeIn(folder, "activations", "file", "nowhere.npy");
		expect(stderr).toContain(
			"the source file is the built-in one, which comes before that of sae-plugin-sevens 1.2.3",
		);
		expect({ exitCode, ran }).toEqual({ exitCode: 3, ran: false });
		expect((await saeIn(folder, "plugins")).stdout).toContain(
			"Sevens: not used, another package provides this name too",
		);
		expect((await saeIn(folder, "activations", "sevens", ...ROWS)).stderr).toBe("");
	});

	test("with a bad manifest is one warning, and commands work", async () => {
		const folder = await project("bad", { "sae-plugin-bad": { text: "{}" }, "sae-plugin-sevens": {} });
		const { stderr, stdout, exitCode } = await saeIn(folder, "activations", "sevens", ...ROWS);
		expect(stderr.trimEnd().split("\n")).toHaveLength(1);
		expect(stderr).toContain(join("sae-plugin-bad", "package.json"));
		expect(stdout).toContain("7");
		expect(exitCode).toBe(0);
	});

	test("for another version is refused by name, and in nobody's way", async () => {
		const json = { sae: { apiVersion: 2, provides: ["source:sevens"] } };
		const folder = await project("future", { "sae-plugin-sevens": { json } });
		const refused = await saeIn(folder, "activations", "sevens");
		expect(refused).toMatchObject({ ran: false, exitCode: 3 });
		const text = "was written for API version 2, this is version 1; update saeflow";
		expect(refused.stderr).toBe(`sae: plugin sae-plugin-sevens: ${text}\n`);
		expect((await saeIn(folder, "plugins")).stdout.replace(/\s+/g, " ")).toContain(`not used, ${text}`);
		const other = await saeIn(folder, "activations", "synthetic", "--rows", "1", ...ROWS);
		expect(other).toMatchObject({ stderr: "", exitCode: 0 });
	});
});

test("the stack of code that fails is shown on request", async () => {
	const source =
		"export default undefined;\nfunction inner() {\n\tthrow new Error('no luck');\n}\ninner();\n";
	const folder = await project("failing", { "sae-plugin-sevens": { source } });
	const plain = await saeIn(folder, "activations", "sevens");
	const where = join(folder, "node_modules/sae-plugin-sevens");
	expect(plain.stderr).toBe(`sae: plugin sae-plugin-sevens: its code in ${where} failed to load: no luck\n`);
	const { stderr } = await saeIn(folder, "activations", "sevens", "--debug");
	expect(stderr).toContain(`${join(where, "index.ts")}:3`);
});

describe("a listed plugin", () => {
	test("comes before a built-in one, which is said, and makes others with its name unambiguous", async () => {
		const listed = { "sae.config.toml": 'plugins = ["sae-plugin-b"]\n' };
		const twice = { "sae-plugin-a": CLASHING, "sae-plugin-b": CLASHING };
		const folder = await project("listed", twice, listed);
		await mkdir(join(folder, "below"));
		const { stderr, stdout } = await saeIn(join(folder, "below"), "activations", "file", ...ROWS);
		expect(stderr).toContain("the source file is that of sae-plugin-b 1.2.3, which comes before");
		expect(stdout).toContain("7");
		const without = await project("unlisted", twice);
		const { stderr: refusal, exitCode } = await saeIn(without, "activations", "sevens");
		expect(refusal).toContain("source sevens: sae-plugin-a and sae-plugin-b both provide it; list the one");
		expect(exitCode).toBe(2);
	});

	test("may be a path, also in a run file, relative to the file", async () => {
		const folder = await project(
			"run",
			{},
			{ "run.json": '{"plugins": ["./mine"], "source": "sevens", "rows": 1}' },
		);
		await writePackage(folder, "mine");
		await mkdir(join(folder, "below"));
		const { stdout, stderr } = await saeIn(
			join(folder, "below"),
			"activations",
			"--config",
			"../run.json",
			...ROWS,
		);
		expect({ stderr, sevens: stdout.match(/7/g)?.length }).toEqual({ stderr: "", sevens: 2 });
	});

	test.each([
		['plugins = ["sae-plugin-none"]', "plugins: sae-plugin-none: there is no such package: install it"],
		['plugins = "sae-plugin-none"', "plugins: must be a list"],
		['plugin = ["x"]', "unknown option plugin; it holds plugins"],
		["plugins = [", "sae.config.toml: "],
	])("that is wrong is an error in the file: %s", async (text, complaint) => {
		const folder = await project(`wrong${Bun.hash(text)}`, {}, { "sae.config.toml": text });
		const { stderr, exitCode } = await saeIn(folder, "plugins");
		expect(stderr).toStartWith(`sae: ${join(folder, "sae.config.toml")}`);
		expect(stderr).toContain(complaint);
		expect(exitCode).toBe(2);
	});
});

test("an importer that is merely installed is not asked, but named where nobody knows a path", async () => {
	const json = { sae: { apiVersion: 1, provides: ["importer:odd"] } };
	const source = `${SEVENS.slice(0, SEVENS.indexOf("export default"))}export default {
		name: "odd", apiVersion: 1, contributes: ({ z }) => [{
			kind: "importer", name: "odd", summary: "odd", options: z.object({}),
			detect: async (path: string) => path.endsWith(".odd"),
			read: async () => { throw new Error("read"); },
		}],
	};`;
	const folder = await project("importer", { "sae-plugin-odd": { json, source } }, { "my.odd": "" });
	await mkdir(join(folder, "folder.odd"));
	const asked = await saeIn(folder, "inspect", "folder.odd");
	expect(asked.stderr).toMatch(
		/folder\.odd: is not an SAE in a format that can be read \(saelens, [a-z, -]+\); to ask sae-plugin-odd too/,
	);
	expect(asked).toMatchObject({ ran: false, exitCode: 3 });
	await writeFile(join(folder, "sae.config.toml"), 'plugins = ["sae-plugin-odd"]');
	expect(await saeIn(folder, "inspect", "folder.odd")).toMatchObject({ ran: true });
	expect(await readFile(join(folder, "trace"), "utf8")).toBe("loaded\n");
});
