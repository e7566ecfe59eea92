import { createRegistry, type PluginEntry, type Registry } from "./registry.ts";

let registry: Promise<Registry> | undefined;

/** The plugins that come with saeflow. The one place where core reaches for them, and only when asked. */
export function builtIn(): Promise<Registry> {
	registry ??= withBuiltIn([]);
	return registry;
}

/**
 * A registry of the plugins that come with saeflow and of others, which win where names are the same unless they are
 * merely installed. `announce` hears of such names when they are asked for.
 * @example
 * const registry = await withBuiltIn([
 * 	{ name: "mine", provides: ["architecture:mine"], load: () => import("./my-plugin.ts") },
 * ]);
 * await train({ registry, saes: [{ architecture: "mine", d_sae: 4096 }], stream });
 */
export async function withBuiltIn(
	others: readonly PluginEntry[],
	announce?: (message: string) => void,
): Promise<Registry> {
	const { plugins } = await import("../plugins/index.ts");
	return createRegistry([...plugins, ...others], announce);
}
