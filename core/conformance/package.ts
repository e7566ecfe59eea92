/** Whether a package is what its package.json says. */
import { resolve } from "node:path";
import { readPackage } from "../packages/manifest.ts";
import type { Plugin } from "../plugin.ts";
import { createRegistry } from "../registry.ts";
import { check } from "./check.ts";

/**
 * Checks a plugin package as `sae` finds it: its name, keyword and manifest, and that its main module exports a plugin
 * that contributes what the manifest lists, and nothing else.
 *
 * @param folder The package's, where its package.json is.
 * @throws Error that says what does not hold.
 */
export async function checkPackage(folder: string): Promise<void> {
	const entry = await readPackage(resolve(folder));
	check(
		/^(@[^/]+\/)?sae-plugin-./.test(entry.name),
		`${entry.name}: commands find packages called sae-plugin-* or @scope/sae-plugin-*`,
	);
	const { keywords = [] } = await Bun.file(resolve(folder, "package.json")).json();
	check(
		keywords.includes("sae-plugin"),
		`${entry.name}: its keywords lack sae-plugin, by which npm finds it`,
	);
	const registry = createRegistry([entry]);
	for (const { kind, name } of registry.listed) await registry.find(kind, name);
	const { core } = await import("../api.ts");
	const plugin: Plugin = (await entry.load()).default;
	const contributed = plugin.contributes(core).map(({ kind, name }) => `${kind}:${name}`);
	const forgotten = contributed.filter((key) => !entry.provides.includes(key as never));
	check(forgotten.length === 0, `${entry.name}: provides in package.json lacks ${forgotten.join(", ")}`);
}
