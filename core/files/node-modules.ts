/** Where npm's packages lie, as Node looks for them. */
import { basename, dirname, join, resolve } from "node:path";

/** The node_modules of a folder and of those above it, the nearest first, whether they are there or not. */
export function modulesAbove(folder: string): string[] {
	const folders = [resolve(folder)];
	while (dirname(folders.at(-1)!) !== folders.at(-1)) folders.push(dirname(folders.at(-1)!));
	return folders.filter((one) => basename(one) !== "node_modules").map((one) => join(one, "node_modules"));
}
