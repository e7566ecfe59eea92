/** The registry of the command line, and how a name that someone typed is looked up in it. */
import { dirname } from "node:path";
import { withBuiltIn } from "../core/built-in.ts";
import { usageError } from "../core/errors.ts";
import { discoverPlugins, listedPlugins } from "../core/packages/discover.ts";
import type { ContributionKind } from "../core/plugin.ts";
import type { ContributionOf, Listed, PluginEntry } from "../core/registry.ts";
import { type PluginList, readProject } from "./config.ts";
import { createLogger } from "./log.ts";
import { didYouMean } from "./suggest.ts";

const log = createLogger(false);
const project = await readProject(process.cwd());
const installed = await discoverPlugins(process.cwd());
for (const problem of installed.problems) log.warn(`left out: ${problem}`);
let listed: readonly PluginEntry[] = [];

/** What comes with saeflow, what is installed, and what the project and the run file list. */
export let registry = await withBuiltIn(installed.entries, log.warn);
if (project) await usePlugins(project);

/** Adds the plugins that a file lists. They take the place of others of the same name. */
export async function usePlugins({ specs, file }: PluginList): Promise<void> {
	if (specs.length === 0) return;
	listed = [...listed, ...(await listedPlugins(specs, dirname(file), file))];
	const names = listed.map(({ name }) => name);
	const others = installed.entries.filter(({ name }) => !names.includes(name));
	registry = await withBuiltIn([...others, ...listed], log.warn);
}

/** @throws a usage error that suggests the nearest name, or lists what there is. */
export async function findContribution<K extends ContributionKind>(
	kind: K,
	name: string,
): Promise<ContributionOf<K>> {
	const found = await registry.find(kind, name);
	if (found) return found;
	const names = registry.names(kind);
	const hint = didYouMean(name, names) || `; there is ${names.join(", ") || "none"}`;
	throw usageError(`unknown ${kind} ${name}${hint}`);
}

/** What can be named of one kind, each with a line about it. */
export async function descriptions(
	kind: ContributionKind,
): Promise<{ readonly name: string; readonly summary: string }[]> {
	const known = registry.listed.filter((one) => one.kind === kind && one.used);
	return Promise.all(known.map(async (one) => ({ name: one.name, summary: await summaryOf(one) })));
}

/** What a built-in plugin says of itself; of others nothing runs, and their package.json speaks for them. */
async function summaryOf({ kind, name, entry }: Listed): Promise<string> {
	const { package: origin } = entry;
	if (!origin) return (await registry.find(kind, name))!.summary;
	return `${origin.description} (${origin.name} ${origin.version})`.trimStart();
}
