/**
 * A description and weights in one folder, as a unit. Readers never see a description beside the weights of another
 * SAE, and whatever else the folder holds, a run's `training/` above all, survives a rewrite.
 */
import { mkdir, readFile, rename, rm, rmdir } from "node:fs/promises";
import { join } from "node:path";
import type { Core } from "saeflow";

/** Names of the two files. */
export interface FolderFiles {
	readonly description: string;
	readonly weights: string;
}

/**
 * Fills a folder beside `path` by `write` and moves its two files to `path` when that is done.
 *
 * A new folder appears at once. In one that exists the description goes first and comes back last, so that a
 * folder without it is one whose writing was interrupted; only where the new description is `compatible` with the
 * old one, the files are replaced one after the other and there is an SAE at any moment.
 *
 * @throws SaeError when `path` can't be written.
 */
export async function writeFolder(
	{ SaeError, isSaeError }: Core,
	path: string,
	{ description, weights }: FolderFiles,
	write: (folder: string) => Promise<void>,
	compatible: (before: string, after: string) => boolean = () => false,
): Promise<void> {
	const beside = `${path.replace(/[/\\]+$/, "")}.${process.pid}.tmp`;
	try {
		await mkdir(beside, { recursive: true });
		await write(beside);
		if (await renameUnlessThere(beside, path)) return;
		const after = await readFile(join(beside, description), "utf8");
		const before = await readFile(join(path, description), "utf8").catch(() => undefined);
		if (before !== undefined && !compatible(before, after)) await rm(join(path, description));
		await rename(join(beside, weights), join(path, weights));
		await rename(join(beside, description), join(path, description));
		await rmdir(beside);
	} catch (error) {
		await rm(beside, { recursive: true, force: true }).catch(() => {});
		if (isSaeError(error)) throw error;
		throw new SaeError(`${path}: can't be written (${(error as NodeJS.ErrnoException).code ?? error})`);
	}
}

/** Writes a file beside `path` by `write`, and moves it there when `check` has read it back. */
export async function writeSingleFile(
	path: string,
	write: (file: string) => Promise<void>,
	check: (file: string) => Promise<void>,
): Promise<void> {
	const beside = `${path}.${process.pid}.new`;
	try {
		await write(beside);
		await check(beside);
		await rename(beside, path);
	} catch (error) {
		await rm(beside, { force: true }).catch(() => {});
		throw error;
	}
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
