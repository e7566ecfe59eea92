/** Patterns of file names. */
import { access } from "node:fs/promises";
import { usageError } from "../errors.ts";

/** Existing paths as they are; patterns by the files they match, numbers in names in numeric order. */
export async function expandPaths(paths: readonly string[]): Promise<string[]> {
	const expanded: string[] = [];
	const { compare } = new Intl.Collator("en", { numeric: true });
	for (const path of paths) {
		const exists = await access(path).then(
			() => true,
			() => false,
		);
		if (exists || !/[*?[{]/.test(path)) {
			expanded.push(path);
			continue;
		}
		const scan = (onlyFiles: boolean) => Array.fromAsync(new Bun.Glob(path).scan({ onlyFiles }));
		const files = await scan(true);
		// Without files, it may be folders of shards.
		const matches = files.length > 0 ? files : await scan(false);
		if (matches.length === 0) throw usageError(`${path}: no file matches this pattern`);
		expanded.push(...matches.sort(compare));
	}
	return expanded;
}
