/** Finds contributions by kind and name, loading no plugin before it is asked for. */
import type { Core } from "./api.ts";
import { SaeError } from "./errors.ts";
import { API_VERSION, type Contribution, type ContributionKind, type Plugin } from "./plugin.ts";

/** A plugin that can be listed without running its code. */
export interface PluginEntry {
	readonly name: string;
	/** What it contributes, as `kind:name`, e.g. `source:file`. */
	readonly provides: readonly `${ContributionKind}:${string}`[];
	load(): Promise<{ readonly default: Plugin }>;
}

export type ContributionOf<K extends ContributionKind> = Extract<Contribution, { kind: K }>;

export interface Registry {
	/** Names of one kind, in the order of the entries, from the listing alone. */
	names(kind: ContributionKind): readonly string[];
	/** The contribution, or undefined when no plugin lists it. Loads only the plugin that does. */
	find<K extends ContributionKind>(kind: K, name: string): Promise<ContributionOf<K> | undefined>;
	/** Everything of one kind, which loads every plugin that lists some. */
	all<K extends ContributionKind>(kind: K): Promise<readonly ContributionOf<K>[]>;
}

/** A registry over `entries`; where two list the same contribution, the later one counts. */
export function createRegistry(entries: readonly PluginEntry[]): Registry {
	const owners = new Map<string, PluginEntry>();
	for (const entry of entries) for (const key of entry.provides) owners.set(key, entry);
	const loaded = new Map<PluginEntry, Promise<readonly Contribution[]>>();

	const names = (kind: ContributionKind) =>
		[...owners.keys()].filter((key) => key.startsWith(`${kind}:`)).map((key) => key.slice(kind.length + 1));

	const find: Registry["find"] = async <K extends ContributionKind>(kind: K, name: string) => {
		const owner = owners.get(`${kind}:${name}`);
		if (!owner) return undefined;
		if (!loaded.has(owner)) loaded.set(owner, contributionsOf(owner));
		const contributions = await loaded.get(owner)!;
		const found = contributions.find((candidate) => candidate.kind === kind && candidate.name === name);
		if (!found)
			throw new SaeError(`plugin ${owner.name}: lists the ${kind} ${name} but does not contribute it`);
		return found as ContributionOf<K>;
	};

	return {
		names,
		find,
		async all(kind) {
			const found = await Promise.all(names(kind).map((name) => find(kind, name)));
			return found.filter((contribution) => contribution !== undefined);
		},
	};
}

async function contributionsOf(entry: PluginEntry): Promise<readonly Contribution[]> {
	const [{ default: plugin }, { core }] = await Promise.all([entry.load(), import("./api.ts")]);
	checkVersion(plugin, entry.name);
	return plugin.contributes(core satisfies Core);
}

function checkVersion(plugin: Plugin | undefined, name: string): void {
	if (typeof plugin?.contributes !== "function") {
		throw new SaeError(`plugin ${name}: its default export was not made by definePlugin`);
	}
	if (plugin.apiVersion !== API_VERSION) {
		const remedy = plugin.apiVersion > API_VERSION ? "update saeflow" : "update the plugin";
		throw new SaeError(
			`plugin ${name}: was written for API version ${plugin.apiVersion}, this is version ${API_VERSION}; ${remedy}`,
		);
	}
}
