import { describe, expect, test } from "bun:test";
import type { Contribution, Plugin } from "../../core/plugin.ts";
import { createRegistry, type PluginEntry } from "../../core/registry.ts";
import { plugins } from "../../plugins/index.ts";

function entry(
	provides: PluginEntry["provides"],
	plugin: Partial<Plugin>,
	loads: string[] = [],
): PluginEntry {
	const name = provides.join("+");
	const contributes = () =>
		provides.map((key) => {
			const [kind, contribution] = key.split(":");
			return { kind, name: contribution, summary: name } as Contribution;
		});
	return {
		name,
		provides,
		load: async () => {
			loads.push(name);
			return { default: { name, apiVersion: 1, contributes, ...plugin } };
		},
	};
}

describe("createRegistry", () => {
	test("lists without loading, and loads only what is asked for, once", async () => {
		const loads: string[] = [];
		const registry = createRegistry([
			entry(["source:a", "exporter:x"], {}, loads),
			entry(["source:b"], {}, loads),
		]);
		expect(registry.names("source")).toEqual(["a", "b"]);
		expect(registry.names("importer")).toEqual([]);
		expect(await registry.find("source", "c")).toBeUndefined();
		expect(loads).toEqual([]);
		expect((await registry.find("source", "a"))!.name).toBe("a");
		expect((await registry.find("exporter", "x"))!.kind).toBe("exporter");
		expect(loads).toEqual(["source:a+exporter:x"]);
		expect((await registry.all("source")).map(({ name }) => name)).toEqual(["a", "b"]);
	});

	test("a later entry replaces an earlier one of the same name", async () => {
		const registry = createRegistry([entry(["source:a"], {}), entry(["source:a", "source:b"], {})]);
		expect((await registry.find("source", "a"))!.summary).toBe("source:a+source:b");
		expect(registry.names("source")).toEqual(["a", "b"]);
	});

	test("what is merely installed takes no place, is no part of all, and is found by name", async () => {
		const loads: string[] = [];
		const origin = { version: "1.0.0", description: "", apiVersion: 1, folder: "" };
		const installed = (provides: PluginEntry["provides"]): PluginEntry => ({
			...entry(provides, {}, loads),
			package: { ...origin, name: "sae-plugin-a" },
			installed: true,
		});
		const heard: string[] = [];
		const registry = createRegistry(
			[installed(["source:a"]), entry(["source:a"], {}), installed(["source:b", "source:b"])],
			(message) => heard.push(message),
		);
		expect(registry.names("source")).toEqual(["a", "b"]);
		expect(registry.listed.map(({ name, used }) => `${name} ${used}`)).toEqual([
			"a false",
			"a true",
			"b true",
		]);
		expect((await registry.all("source")).map(({ name }) => name)).toEqual(["a"]);
		expect(loads).toEqual([]);
		expect(heard).toEqual([
			"the source a is the built-in one, which comes before that of sae-plugin-a 1.0.0",
		]);
		expect((await registry.find("source", "b"))!.name).toBe("b");
		expect(loads).toEqual(["source:b+source:b"]);
		await registry.find("source", "a");
		expect(heard).toHaveLength(1);
	});

	test("several that are merely installed don't share a name", async () => {
		const [one, two] = ["one", "two"].map((name) => ({ ...entry(["source:a"], {}), name, installed: true }));
		await expect(createRegistry([one!, two!]).find("source", "a")).rejects.toThrow(
			"source a: one and two both provide it; list the one that you mean under plugins in sae.config.toml",
		);
	});

	test.each([
		[{ apiVersion: 2 }, "was written for API version 2, this is version 1; update saeflow"],
		[{ apiVersion: 0 }, "was written for API version 0, this is version 1; update the plugin"],
		[{ contributes: undefined as never }, "its default export was not made by definePlugin"],
		[{ contributes: () => expect.unreachable("at all") }, "contributes() failed: "],
		[{ contributes: () => [] }, "lists the source a but does not contribute it"],
	])("refuses a plugin that does not fit: %o", async (plugin, message) => {
		await expect(createRegistry([entry(["source:a"], plugin)]).find("source", "a")).rejects.toThrow(message);
	});

	test("the built-in plugins contribute what they list, and nothing else", async () => {
		const { core } = await import("../../core/api.ts");
		for (const { provides, load } of plugins) {
			const contributed = (await load()).default.contributes(core).map(({ kind, name }) => `${kind}:${name}`);
			expect(contributed.toSorted()).toEqual([...provides].toSorted());
		}
	});
});
