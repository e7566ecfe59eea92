/**
 * The two files of an SAE folder as one unit. Readers never see a description beside the weights of another SAE,
 * and whatever else the folder holds, a run's `training/` above all, survives a rewrite.
 */
import { mkdir, readFile, rename, rm, rmdir } from "node:fs/promises";
import { join } from "node:path";

export const CFG = "cfg.json";
export const WEIGHTS = "sae_weights.safetensors";

/**
 * Fills a folder beside `path` by `write` and moves its two files to `path` when that is done.
 *
 * A new folder appears at once. In one that exists the description goes first and comes back last, so that a
 * folder without it is one whose writing was interrupted; only where the new description is `compatible` with the
 * old one, the files are replaced one after the other and there is an SAE at any moment.
 */
export async function writeFolder(
	path: string,
	write: (folder: string) => Promise<void>,
	compatible: (before: string, after: string) => boolean,
): Promise<void> {
	const beside = `${path.replace(/[/\\]+$/, "")}.${process.pid}.tmp`;
	try {
		await mkdir(beside, { recursive: true });
		await write(beside);
		if (await renameUnlessThere(beside, path)) return;
		const after = await readFile(join(beside, CFG), "utf8");
		const before = await readFile(join(path, CFG), "utf8").catch(() => undefined);
		if (before !== undefined && !compatible(before, after)) await rm(join(path, CFG));
		await rename(join(beside, WEIGHTS), join(path, WEIGHTS));
		await rename(join(beside, CFG), join(path, CFG));
		await rmdir(beside);
	} catch (error) {
		await rm(beside, { recursive: true, force: true });
		throw error;
	}
}

/** Reads the description, then lets `read` read the rest; again when the description changed meanwhile. */
export async function readFolder<T>(path: string, read: (cfg: string) => Promise<T>): Promise<T> {
	const cfg = await readFile(join(path, CFG), "utf8");
	const result = await read(cfg).then(
		(value) => ({ value }),
		(error: unknown) => ({ error }),
	);
	// Whatever was read or went wrong counts only if no writer came between.
	if ((await readFile(join(path, CFG), "utf8")) !== cfg) return readFolder(path, read);
	if ("error" in result) throw result.error;
	return result.value;
}

/** False when there is a folder with content already. */
async function renameUnlessThere(from: string, to: string): Promise<boolean> {
	try {
		await rename(from, to);
		return true;
	} catch (error) {
		const { code } = error as NodeJS.ErrnoException;
		if (code === "ENOTEMPTY" || code === "EEXIST" || code === "EPERM") return false;
		throw error;
	}
}
