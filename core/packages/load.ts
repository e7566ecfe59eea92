/** Runs the code of a plugin package. */
import { readFile } from "node:fs/promises";
import { join } from "node:path";
import { plugin as extendBun } from "bun";
import { EXIT, SaeError } from "../errors.ts";
import type { Plugin } from "../plugin.ts";
import type { PluginPackage } from "../registry.ts";

/** @throws SaeError when the package has no entry point, or its code fails. */
export async function loadPackage(origin: PluginPackage): Promise<{ readonly default: Plugin }> {
	lendSaeflow();
	try {
		return await import(await entryOf(origin));
	} catch (cause) {
		const reason = cause instanceof Error ? cause.message : String(cause);
		const where = `plugin ${origin.name}: its code in ${origin.folder}`;
		throw new SaeError(`${where} failed to load: ${reason}`, EXIT.data, { cause });
	}
}

/** A package's main module, by its own `exports`, or else by `main` and the usual names. */
async function entryOf({ name, folder }: PluginPackage): Promise<string> {
	const { exports } = JSON.parse(await readFile(join(folder, "package.json"), "utf8"));
	return exports === undefined ? Bun.resolveSync(folder, folder) : Bun.resolveSync(name, folder);
}

let lent = false;

/**
 * Makes `import … from "saeflow"` in a plugin mean the library that runs, wherever the plugin lies: a single binary
 * has no saeflow on disk, and elsewhere the plugin might find another version of it.
 */
function lendSaeflow(): void {
	if (lent) return;
	lent = true;
	extendBun({
		name: "saeflow",
		setup: (build) =>
			void build.module("saeflow", async () => ({ exports: await import("../index.ts"), loader: "object" })),
	});
}
