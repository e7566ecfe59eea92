/** Packages are found by their names, and nothing of them runs before they are asked for something. */
import { afterEach, beforeEach, describe, expect, test } from "bun:test";
import { mkdir, mkdtemp, realpath, rm, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { discoverPlugins, listedPlugins } from "../../core/packages/discover.ts";
import { createRegistry } from "../../core/registry.ts";
import { writePackage } from "./packages.ts";

let root: string;
let modules: string;
beforeEach(async () => {
	root = await realpath(await mkdtemp(join(tmpdir(), "sae-discover-")));
	modules = join(root, "node_modules");
});
afterEach(() => rm(root, { recursive: true }));

const names = async (folder: string) => (await discoverPlugins(folder)).entries.map(({ name }) => name);

describe("discoverPlugins", () => {
	test("finds packages by name, also scoped ones, here and in the folders above", async () => {
		const project = join(root, "a", "b");
		await writePackage(modules, "sae-plugin-far");
		await writePackage(modules, "@scope/sae-plugin-far");
		await writePackage(modules, "other-plugin");
		await writePackage(modules, "@scope/other");
		await writePackage(join(project, "node_modules"), "sae-plugin-near");
		expect(await names(project)).toEqual(["sae-plugin-near", "sae-plugin-far", "@scope/sae-plugin-far"]);
		expect(await names(root)).toEqual(["sae-plugin-far", "@scope/sae-plugin-far"]);
		expect(await names(join(root, "not", "there"))).toEqual(["sae-plugin-far", "@scope/sae-plugin-far"]);
	});

	test("of two with one name the nearest counts", async () => {
		await writePackage(modules, "sae-plugin-a", { json: { version: "1.0.0" } });
		await writePackage(join(root, "near", "node_modules"), "sae-plugin-a", { json: { version: "2.0.0" } });
		const { entries } = await discoverPlugins(join(root, "near"));
		expect(entries.map((entry) => entry.package!.version)).toEqual(["2.0.0"]);
	});

	test.each<[string, Parameters<typeof writePackage>[2], string]>([
		["no sae", { json: { sae: undefined } }, 'sae: must be like {"apiVersion": 1'],
		["a text", { text: "{" }, "is not JSON"],
		[
			"provides of another form",
			{ json: { sae: { apiVersion: 1, provides: ["topk"] } } },
			'"topk" is not kind:name',
		],
		[
			"an unknown kind",
			{ json: { sae: { apiVersion: 1, provides: ["sauce:a"] } } },
			'"sauce:a" is not kind:name with a kind of source,',
		],
		["nothing provided", { json: { sae: { apiVersion: 1, provides: [] } } }, "sae.provides"],
		["no whole version", { json: { sae: { apiVersion: "1", provides: ["source:a"] } } }, "sae.apiVersion"],
		["no version of its own", { json: { version: undefined } }, "version"],
	])(
		"a package.json with %s is one line that names the package, beside sound ones",
		async (_, files, complaint) => {
			await writePackage(modules, "sae-plugin-bad", files);
			await writePackage(modules, "sae-plugin-good");
			const { entries, problems } = await discoverPlugins(root);
			expect(entries.map(({ name }) => name)).toEqual(["sae-plugin-good"]);
			expect(problems).toHaveLength(1);
			expect(problems[0]).toStartWith(`${join(modules, "sae-plugin-bad", "package.json")}: `);
			expect(problems[0]).toContain(complaint);
			expect(problems[0]).not.toContain("\n");
		},
	);

	test("a plugin for another version is listed, and refused before its code runs", async () => {
		const source = "throw new Error('it ran');";
		const sae = (apiVersion: number) => ({ apiVersion, provides: ["source:sevens", "future:thing"] });
		await writePackage(modules, "sae-plugin-future", { source, json: { sae: sae(2) } });
		const { entries, problems } = await discoverPlugins(root);
		expect(problems).toEqual([]);
		expect(entries[0]!.provides).toEqual(["source:sevens"]);
		await expect(createRegistry(entries).find("source", "sevens")).rejects.toThrow(
			"plugin sae-plugin-future: was written for API version 2, this is version 1; update saeflow",
		);
	});

	test("code that fails is named, with its folder", async () => {
		await writePackage(modules, "sae-plugin-a", { source: "throw new Error('no luck');" });
		const { entries } = await discoverPlugins(root);
		await expect(createRegistry(entries).find("source", "sevens")).rejects.toThrow(
			`plugin sae-plugin-a: its code in ${join(modules, "sae-plugin-a")} failed to load: no luck`,
		);
	});

	test.each([
		["exports", { exports: "./index.ts" }],
		["exports with conditions", { exports: { ".": { import: "./index.ts" } } }],
		["main", { exports: undefined, main: "index.ts" }],
		["index.ts", { exports: undefined }],
	])("the main module is found by %s", async (_, json) => {
		const folder = join(modules, "elsewhere");
		await writePackage(folder, "sae-plugin-main", { json });
		const [entry] = await listedPlugins(["./sae-plugin-main"], folder, "here");
		const found = await createRegistry([entry!]).find("source", "sevens");
		expect(found!.summary).toBe("rows of sevens");
	});
});

describe("listedPlugins", () => {
	test("takes names, which are looked for upwards, and paths", async () => {
		const project = join(root, "project");
		await mkdir(project);
		await writePackage(modules, "any-name");
		await writePackage(root, "folder");
		const entries = await listedPlugins(["any-name", "../folder", join(root, "folder")], project, "here");
		expect(entries.map((entry) => entry.package!.folder)).toEqual([
			join(modules, "any-name"),
			join(root, "folder"),
			join(root, "folder"),
		]);
	});

	test("says what is wrong", async () => {
		await writeFile(join(root, "file"), "");
		await writePackage(root, "bad", { json: { sae: undefined } });
		const listed = (spec: string) => listedPlugins([spec], root, "x.toml");
		await expect(listed("missing")).rejects.toThrow(
			"x.toml: plugins: missing: there is no such package: install it",
		);
		await expect(listed("./missing")).rejects.toThrow("x.toml: plugins: ./missing: there is no such folder");
		await expect(listed("./file")).rejects.toThrow("x.toml: plugins: ./file: there is no such folder");
		await expect(listed("./bad")).rejects.toThrow(
			`x.toml: plugins: ${join(root, "bad", "package.json")}: sae: `,
		);
	});
});
