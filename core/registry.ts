/** Finds contributions by kind and name, loading no plugin before it is asked for. */
import type { Core } from "./api.ts";
import { EXIT, SaeError } from "./errors.ts";
import { API_VERSION, type Contribution, type ContributionKind, type Plugin } from "./plugin.ts";

/** A plugin that can be listed without running its code. */
export interface PluginEntry {
	readonly name: string;
	/** What it contributes, as `kind:name`, e.g. `source:file`. */
	readonly provides: readonly `${ContributionKind}:${string}`[];
	/** Where it comes from, unless it is built in. */
	readonly package?: PluginPackage;
	/**
	 * Found in node_modules, where anything may have put it, rather than given by a person: it never takes the place
	 * of another plugin, and is loaded only for something that it was asked for by name.
	 */
	readonly installed?: boolean;
	load(): Promise<{ readonly default: Plugin }>;
}

/** What the package.json of a plugin says. */
export interface PluginPackage {
	readonly name: string;
	readonly version: string;
	readonly description: string;
	/** The version of the interfaces that it was written for. */
	readonly apiVersion: number;
	readonly folder: string;
}

/** A contribution as it is listed, which its plugin's code has not confirmed. */
export interface Listed {
	readonly kind: ContributionKind;
	readonly name: string;
	readonly entry: PluginEntry;
	/** Whether the name means this one; if not, another plugin has it. */
	readonly used: boolean;
}

export type ContributionOf<K extends ContributionKind> = Extract<Contribution, { kind: K }>;

export interface Registry {
	/** Everything that is listed, in the order of the entries, from the listing alone. */
	readonly listed: readonly Listed[];
	/** Names of one kind, in the order of the entries, from the listing alone. */
	names(kind: ContributionKind): readonly string[];
	/**
	 * The contribution, or undefined when no plugin lists it. Loads only the plugin that does.
	 * @throws SaeError when the plugin can't be used, or when several that are merely installed list it.
	 */
	find<K extends ContributionKind>(kind: K, name: string): Promise<ContributionOf<K> | undefined>;
	/** Everything of one kind but what is merely installed. Loads every plugin that lists some. */
	all<K extends ContributionKind>(kind: K): Promise<readonly ContributionOf<K>[]>;
}

type Key = PluginEntry["provides"][number];

/**
 * A registry over `entries`. Where several list the same contribution, one that is not merely installed counts, and
 * of those the last; `announce` hears of it when that contribution is asked for.
 */
export function createRegistry(
	entries: readonly PluginEntry[],
	announce: (message: string) => void = () => {},
): Registry {
	const candidates = new Map<Key, PluginEntry[]>();
	for (const entry of entries) {
		for (const key of new Set(entry.provides)) candidates.set(key, [...(candidates.get(key) ?? []), entry]);
	}
	const loaded = new Map<PluginEntry, Promise<readonly Contribution[]>>();
	const announced = new Set<Key>();

	const listed = [...candidates].flatMap(([key, rivals]) =>
		rivals.map((entry) => ({ ...split(key), entry, used: entry === winner(rivals) })),
	);
	const names = (kind: ContributionKind) =>
		[...candidates.keys()].map(split).flatMap((one) => (one.kind === kind ? [one.name] : []));

	const find: Registry["find"] = async <K extends ContributionKind>(kind: K, name: string) => {
		const key: Key = `${kind}:${name}`;
		const rivals = candidates.get(key);
		if (!rivals) return undefined;
		const owner = winner(rivals);
		if (!owner) throw ambiguous(kind, name, rivals);
		if (rivals.length > 1 && !announced.has(key)) {
			announced.add(key);
			announce(choice(kind, name, owner, rivals));
		}
		if (!loaded.has(owner)) loaded.set(owner, contributionsOf(owner));
		const contributions = await loaded.get(owner)!;
		const found = contributions.find((candidate) => candidate.kind === kind && candidate.name === name);
		if (!found)
			throw new SaeError(`plugin ${owner.name}: lists the ${kind} ${name} but does not contribute it`);
		return found as ContributionOf<K>;
	};

	return {
		listed,
		names,
		find,
		async all(kind) {
			const wanted = listed.filter((one) => one.kind === kind && one.used && !one.entry.installed);
			const found = await Promise.all(wanted.map(({ name }) => find(kind, name)));
			return found.filter((contribution) => contribution !== undefined);
		},
	};
}

/** The one that counts; none where several are merely installed. */
function winner(rivals: readonly PluginEntry[]): PluginEntry | undefined {
	return rivals.findLast(({ installed }) => !installed) ?? (rivals.length === 1 ? rivals[0] : undefined);
}

function split(key: Key): { readonly kind: ContributionKind; readonly name: string } {
	const colon = key.indexOf(":");
	return { kind: key.slice(0, colon) as ContributionKind, name: key.slice(colon + 1) };
}

function ambiguous(kind: string, name: string, rivals: readonly PluginEntry[]): SaeError {
	const packages = rivals.map((entry) => entry.name).join(" and ");
	return new SaeError(
		`${kind} ${name}: ${packages} both provide it; list the one that you mean under plugins in sae.config.toml`,
		EXIT.usage,
	);
}

function choice(kind: string, name: string, owner: PluginEntry, rivals: readonly PluginEntry[]): string {
	const others = rivals.filter((entry) => entry !== owner).map((entry) => originOf(entry));
	return `the ${kind} ${name} is ${originOf(owner)}, which comes before ${others.join(" and ")}`;
}

function originOf({ package: origin }: PluginEntry): string {
	return origin ? `that of ${origin.name} ${origin.version}` : "the built-in one";
}

async function contributionsOf(entry: PluginEntry): Promise<readonly Contribution[]> {
	// What the package says is checked before any of its code runs.
	if (entry.package) checkVersion(entry.package.apiVersion, entry.name);
	const [{ default: plugin }, { core }] = await Promise.all([entry.load(), import("./api.ts")]);
	if (typeof plugin?.contributes !== "function") {
		throw new SaeError(`plugin ${entry.name}: its default export was not made by definePlugin`);
	}
	checkVersion(plugin.apiVersion, entry.name);
	try {
		return plugin.contributes(core satisfies Core);
	} catch (cause) {
		throw new SaeError(`plugin ${entry.name}: contributes() failed: ${cause}`, EXIT.data, { cause });
	}
}

function checkVersion(apiVersion: number, name: string): void {
	const problem = versionProblem(apiVersion);
	if (problem) throw new SaeError(`plugin ${name}: ${problem}`);
}

/** Why a plugin written for that version of the interfaces can't be used, if it can't. */
export function versionProblem(apiVersion: number): string | undefined {
	if (apiVersion === API_VERSION) return undefined;
	const remedy = apiVersion > API_VERSION ? "update saeflow" : "update the plugin";
	return `was written for API version ${apiVersion}, this is version ${API_VERSION}; ${remedy}`;
}
