/** Finds plugin packages by their names, without running their code. */
import { readdir, stat } from "node:fs/promises";
import { basename, dirname, isAbsolute, join, resolve } from "node:path";
import { isSaeError, usageError } from "../errors.ts";
import { modulesAbove } from "../files/node-modules.ts";
import type { PluginEntry } from "../registry.ts";
import { readPackage } from "./manifest.ts";

const NAME = /^sae-plugin-./;

export interface Discovered {
	readonly entries: readonly PluginEntry[];
	/** A line for every package with a plugin's name that is not sound, naming it. */
	readonly problems: readonly string[];
}

/**
 * Packages called `sae-plugin-*` or `@scope/sae-plugin-*` in the node_modules of `folder`, of the folders above it, and
 * beside saeflow itself. Where several have the same name, the nearest counts.
 */
export async function discoverPlugins(folder: string): Promise<Discovered> {
	const found = (await Promise.all(searched(folder).map(packagesIn))).flat();
	const nearest = new Map(found.toReversed().map(({ name, path }) => [name, path]));
	const results = await Promise.all([...nearest.values()].toReversed().map(readOrExplain));
	return {
		entries: results.flatMap((result) =>
			typeof result === "string" ? [] : [{ ...result, installed: true }],
		),
		problems: results.filter((result) => typeof result === "string"),
	};
}

/**
 * The plugins that a person lists by package name or by path, relative to `folder`. Names are looked for where
 * {@link discoverPlugins} looks.
 * @throws a usage error that says which one is missing or not sound; `where` is what lists them.
 */
export async function listedPlugins(
	specs: readonly string[],
	folder: string,
	where: string,
): Promise<readonly PluginEntry[]> {
	return Promise.all(
		specs.map(async (spec) => {
			const path =
				/^\.{0,2}[\\/]|^\.\.?$/.test(spec) || isAbsolute(spec)
					? resolve(folder, spec)
					: await find(spec, folder);
			if (path === undefined || !(await isFolder(path))) {
				throw usageError(
					`${where}: plugins: ${spec}: there is no such ${path === undefined ? "package: install it" : "folder"}`,
				);
			}
			return readPackage(path).catch((error) => {
				throw isSaeError(error) ? usageError(`${where}: plugins: ${error.message}`) : error;
			});
		}),
	);
}

async function find(name: string, folder: string): Promise<string | undefined> {
	for (const modules of searched(folder)) {
		const path = join(modules, name);
		if (await isFolder(path)) return path;
	}
	return undefined;
}

/** The node_modules to look in, the nearest first. */
function searched(folder: string): string[] {
	return [...new Set([...modulesAbove(folder), ...beside()])];
}

/** Where packages installed together with saeflow lie: its own node_modules, or that beside a single binary. */
function beside(): string[] {
	if (Bun.isStandaloneExecutable) return [join(dirname(process.execPath), "node_modules")];
	const parent = dirname(resolve(import.meta.dir, "../.."));
	return basename(parent) === "node_modules" ? [parent] : [];
}

async function packagesIn(modules: string): Promise<{ readonly name: string; readonly path: string }[]> {
	const all = await names(modules);
	const scoped = await Promise.all(
		all
			.filter((name) => name.startsWith("@"))
			.map(async (scope) =>
				(await names(join(modules, scope))).filter(isPlugin).map((name) => `${scope}/${name}`),
			),
	);
	return [...all.filter(isPlugin), ...scoped.flat()].map((name) => ({ name, path: join(modules, name) }));
}

function isPlugin(name: string): boolean {
	return NAME.test(name);
}

/** What a folder holds, sorted; nothing where it can't be read. */
async function names(folder: string): Promise<string[]> {
	return (await readdir(folder).catch(() => [])).toSorted();
}

async function readOrExplain(folder: string): Promise<PluginEntry | string> {
	try {
		return await readPackage(folder);
	} catch (error) {
		if (isSaeError(error)) return error.message;
		throw error;
	}
}

function isFolder(path: string): Promise<boolean> {
	return stat(path).then(
		(status) => status.isDirectory(),
		() => false,
	);
}
