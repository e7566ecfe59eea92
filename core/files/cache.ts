/** Where what can be made again is kept. */
import { homedir } from "node:os";
import { join } from "node:path";

/** The user's cache, which other programs use too. */
export function cacheHome(): string {
	return process.env.XDG_CACHE_HOME || join(homedir(), ".cache");
}

/** A place in it that is saeflow's own. */
export function cachePath(...parts: string[]): string {
	return join(cacheHome(), "saeflow", ...parts);
}
