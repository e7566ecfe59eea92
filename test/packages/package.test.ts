/** A package's whole way: made by `sae plugin new`, tested, packed, installed, and used by a checkout and by a single binary. */
import { afterAll, beforeAll, describe, expect, test } from "bun:test";
import { existsSync } from "node:fs";
import {
	copyFile,
	mkdir,
	mkdtemp,
	readdir,
	readFile,
	realpath,
	rename,
	rm,
	stat,
	symlink,
	writeFile,
} from "node:fs/promises";
import { tmpdir } from "node:os";
import { dirname, join, resolve } from "node:path";
import { ended, MAIN } from "../cli/sae.ts";
import { SEVENS, writePackage } from "./packages.ts";

const ROOT = resolve(import.meta.dir, "../..");
const MODULES = join(ROOT, "node_modules");

let folder: string;
/** Where packages are installed; nothing of saeflow is on the way up from it. */
let project: string;
let binary: string;

/** Where only the checkout's SwiftShader computes, the binary has to find it, which looks in the user's cache. */
const SOFTWARE_VULKAN = join(ROOT, ".software-vulkan");
const CACHE = existsSync(SOFTWARE_VULKAN) ? () => join(folder, "cache") : undefined;

async function run(cwd: string, ...cmd: string[]) {
	const env = { ...process.env, ...(CACHE && { XDG_CACHE_HOME: CACHE() }) };
	return ended(Bun.spawn({ cmd, cwd, env, stdin: "ignore", stdout: "pipe", stderr: "pipe" }));
}

async function succeed(cwd: string, ...cmd: string[]) {
	const result = await run(cwd, ...cmd);
	if (result.exitCode !== 0)
		throw new Error(`${cmd.join(" ")}: ${result.exitCode}\n${result.stdout}${result.stderr}`);
	return result;
}

const checkout = [process.execPath, MAIN] as const;

beforeAll(async () => {
	folder = await realpath(await mkdtemp(join(tmpdir(), "sae-package-")));
	project = join(folder, "project");
	binary = join(folder, "bin", "sae");
	await mkdir(project);
	await mkdir(dirname(binary));
	if (CACHE) {
		await mkdir(join(CACHE(), "saeflow"), { recursive: true });
		await symlink(SOFTWARE_VULKAN, join(CACHE(), "saeflow", "software-vulkan"));
	}
	await writeFile(join(project, "package.json"), '{"name": "project", "private": true}');
	await succeed(ROOT, "npm", "run", "build:binary");
	await copyFile(join(ROOT, "out/sae"), binary);
	const rows = ["activations", "synthetic", "--d-in", "8", "--features", "16", "--rows", "1024"];
	await succeed(project, binary, ...rows, "--out", "rows.arrow");
}, 120_000);
afterAll(() => rm(folder, { recursive: true }));

/** Makes a package as a person would, with what `npm install` would fetch taken from the checkout. */
async function scaffold(kind: string, name: string, sae: readonly string[] = checkout): Promise<string> {
	await succeed(folder, ...sae, "plugin", "new", name, "--kind", kind);
	const path = join(folder, `sae-plugin-${name.replace(/.*sae-plugin-/, "")}`);
	await mkdir(join(path, "node_modules/@types"), { recursive: true });
	await symlink(ROOT, join(path, "node_modules/saeflow"));
	await symlink(join(MODULES, "@types/bun"), join(path, "node_modules/@types/bun"));
	return path;
}

async function packAndInstall(path: string): Promise<void> {
	const { stdout } = await succeed(path, "npm", "pack", "--silent", "--pack-destination", folder);
	const tarball = join(folder, stdout.trim());
	await succeed(
		project,
		"npm",
		"install",
		"--offline",
		"--no-audit",
		"--no-fund",
		"--loglevel=error",
		tarball,
	);
}

describe.each([
	["architecture", "mine", "mine"],
	["source", "@someone/sae-plugin-noise", "noise"],
	["evaluator", "activity", "activity"],
])("a package of an %s", (kind, given, name) => {
	let path: string;
	beforeAll(async () => {
		path = await scaffold(kind, given);
	});

	test("passes its own test", async () => {
		const { stderr } = await succeed(path, process.execPath, "test", "--timeout", "120000");
		expect(stderr).toContain("2 pass");
		expect(stderr).toContain("0 fail");
	});

	test("is packed without its tests, installed, and listed", async () => {
		await packAndInstall(path);
		const listed = await succeed(project, binary, "plugins", "--json");
		const version = { package: given.includes("/") ? given : `sae-plugin-${name}`, version: "0.1.0" };
		expect(JSON.parse(listed.stdout)).toContainEqual({
			kind,
			name,
			...version,
			description: `The ${kind} ${name} for saeflow`,
		});
		expect(
			await Bun.file(join(project, "node_modules", version.package, "test/index.test.ts")).exists(),
		).toBe(false);
	});
});

test("a package type-checks", async () => {
	// What differs between kinds is checked where the templates lie, with the rest of saeflow.
	const path = join(folder, "sae-plugin-mine");
	await succeed(path, process.execPath, join(MODULES, "typescript/bin/tsc"), "--noEmit");
});

const TRAIN = [
	"rows.arrow",
	"--d-sae",
	"32",
	"--k",
	"4",
	"--batch-size",
	"128",
	"--metrics",
	"metrics.arrow",
];
const weights = (name: string) => readFile(join(project, name, "sae_weights.safetensors"));

describe("what is installed is used", () => {
	test("by a checkout and by a single binary, to the same bits", async () => {
		await succeed(project, ...checkout, "train", "mine", ...TRAIN, "--out", "by-checkout");
		await succeed(project, binary, "train", "mine", ...TRAIN, "--out", "by-binary");
		expect((await weights("by-binary")).equals(await weights("by-checkout"))).toBe(true);
		const { stdout } = await succeed(
			project,
			binary,
			"eval",
			"activity",
			"by-binary",
			"rows.arrow",
			"--format",
			"csv",
		);
		expect(stdout).toMatch(/^rows,l0,l0_max\n1024,[\d.]+,4\n$/);
		const help = await succeed(project, binary, "train", "mine", "--help");
		expect(help.stdout).toContain("Options of the architecture mine:\n  --k N");
	});

	test("by a single binary where it imports a value from saeflow, and has a dependency", async () => {
		const modules = join(project, "node_modules");
		await writePackage(modules, "just-seven", { source: "export const seven: number = 7;" });
		const source = `import { seven } from "just-seven";${SEVENS.replace("fill(7)", "fill(seven)")}`;
		await writePackage(modules, "sae-plugin-sevens", { source });
		const { stdout } = await succeed(
			project,
			binary,
			"activations",
			"sevens",
			"--rows",
			"1",
			"--format",
			"csv",
		);
		expect(stdout.match(/7/g)).toHaveLength(2);
	});
});

describe("the single binary", () => {
	test("needs nothing beside it: it says its version, finds a device and trains", async () => {
		const { version } = JSON.parse(await readFile(join(ROOT, "package.json"), "utf8"));
		expect((await succeed(folder, binary, "--version")).stdout).toBe(`${version}\n`);
		expect((await succeed(folder, binary, "doctor")).stdout).toMatch(/kernel +correct/);
		await succeed(project, binary, "train", "topk", ...TRAIN, "--out", "topk");
		expect((await stat(join(project, "topk/sae_weights.safetensors"))).size).toBeGreaterThan(0);
	});

	test("finds packages in a node_modules beside it", async () => {
		await writePackage(join(dirname(binary), "node_modules"), "sae-plugin-beside");
		expect((await succeed(folder, binary, "plugins")).stdout).toContain("sae-plugin-beside 1.2.3");
	});

	test("reads no .env and no bunfig.toml of the folder it is run in", async () => {
		const elsewhere = join(folder, "elsewhere");
		await mkdir(elsewhere);
		await writeFile(join(elsewhere, ".env"), "SAE_VULKAN=nonsense\n");
		await writeFile(join(elsewhere, "bunfig.toml"), 'preload = ["./missing.ts"]\n');
		expect((await succeed(elsewhere, binary, "doctor")).stdout).toMatch(/kernel +correct/);
	});

	test("starts packages too", async () => {
		const path = await scaffold("source", "from-binary", [binary]);
		await expectPublishedVersion(path);
		await succeed(path, process.execPath, "test");
	});
});

test("an installed saeflow finds packages beside it, and new ones depend on its version", async () => {
	const modules = join(folder, "global", "node_modules");
	await mkdir(modules, { recursive: true });
	for (const name of await readdir(MODULES)) await symlink(join(MODULES, name), join(modules, name));
	const { stdout } = await succeed(ROOT, "npm", "pack", "--silent", "--pack-destination", folder);
	await succeed(modules, "tar", "-xzf", join(folder, stdout.trim()));
	await rename(join(modules, "package"), join(modules, "saeflow"));
	await writePackage(modules, "sae-plugin-global");
	const installed = [process.execPath, join(modules, "saeflow/cli/main.ts")] as const;
	expect((await succeed(folder, ...installed, "plugins")).stdout).toContain("sae-plugin-global 1.2.3");
	const rows = await succeed(folder, ...installed, "activations", "sevens", "--rows", "1", "--format", "csv");
	expect(rows.stdout).toContain("7");
	await expectPublishedVersion(await scaffold("evaluator", "from-installed", installed));
});

/** A package that no checkout made depends on what npm has. */
async function expectPublishedVersion(path: string): Promise<void> {
	const { devDependencies } = JSON.parse(await readFile(join(path, "package.json"), "utf8"));
	expect(devDependencies.saeflow).toMatch(/^\^\d/);
}

test.each([
	["Nope", "Nope: a name has lower-case letters"],
	["topk", "architecture topk is there already"],
])("sae plugin new %s is refused", async (name, complaint) => {
	const { stderr, exitCode } = await run(folder, ...checkout, "plugin", "new", name);
	expect(stderr).toContain(complaint);
	expect(exitCode).toBe(2);
});

test("sae plugin new writes over nothing, and needs a name", async () => {
	await mkdir(join(folder, "sae-plugin-there"));
	const { stderr, exitCode } = await run(folder, ...checkout, "plugin", "new", "there");
	expect({ stderr, exitCode }).toEqual({
		stderr: "sae: sae-plugin-there is already there; choose another name or folder\n",
		exitCode: 2,
	});
	expect((await run(folder, ...checkout, "plugin", "new")).stderr).toBe(
		"sae: which name? sae plugin new NAME\n",
	);
	expect((await run(folder, ...checkout, "plugins", "list", "x")).stderr).toBe(
		"sae: unexpected argument x\n",
	);
});
