/** The registry of the command line, and how a name that someone typed is looked up in it. */
import { builtIn } from "../core/built-in.ts";
import { usageError } from "../core/errors.ts";
import type { ContributionKind } from "../core/plugin.ts";
import type { ContributionOf } from "../core/registry.ts";
import { didYouMean } from "./suggest.ts";

export const registry = await builtIn();

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
