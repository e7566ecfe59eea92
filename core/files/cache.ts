/** Where what can be made again is kept. */
import { homedir } from "node:os";
import { join } from "node:path";

/** A place in the user's cache that is saeflow's own. */
export function cachePath(...parts: string[]): string {
	return join(process.env.XDG_CACHE_HOME || join(homedir(), ".cache"), "saeflow", ...parts);
}
