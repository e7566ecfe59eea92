/** Finding the plugin that reads a path, and the one that writes the native format. */
import { access, readdir, stat } from "node:fs/promises";
import { dirname, extname, join } from "node:path";
import { builtIn } from "./built-in.ts";
import { SaeError } from "./errors.ts";
import type { ImporterContribution } from "./plugin.ts";
import type { Registry } from "./registry.ts";
import type { SaeModel } from "./sae.ts";

/** The exporter whose format every command reads back without loss. */
export const NATIVE_FORMAT = "native";

/**
 * Reads an SAE in whatever format it is in.
 *
 * @param path A folder or file.
 * @param registry Where to look for importers; by default those that come with saeflow.
 * @throws SaeError when there is nothing at `path`, no importer knows it, or it is damaged.
 * @example
 * const sae = await loadSae("runs/topk");
 * console.log(sae.architecture, sae.d_sae, sae.settings.k);
 */
export async function loadSae(path: string, registry?: Registry): Promise<SaeModel> {
	const importer = await importerOf(path, registry ?? (await builtIn()));
	return importer.read(path);
}

/**
 * The importer that recognises `path`.
 * @throws SaeError when there is nothing, nobody knows it, or it is a folder of several SAEs, which the error names.
 */
export async function importerOf(path: string, registry: Registry): Promise<ImporterContribution> {
	await access(path).catch((error: NodeJS.ErrnoException) => {
		throw new SaeError(
			`${path}: ${error.code === "ENOENT" ? "there is no such file or folder" : error.message}`,
		);
	});
	const importer = await recogniser(path, registry);
	if (importer) return importer;
	const around = await folderOf(path, registry);
	if (around) throw new SaeError(`${path}: is a part of the SAE in ${around}; name the folder`);
	const { found, complete } = await saesIn(path, registry);
	if (found.length > 0) {
		const names = found.slice(0, MAX_NAMED).map((sae) => join(path, sae.path));
		const more = found.length - names.length;
		const rest = more > 0 ? `, and ${complete ? "" : "at least "}${more} more that sae inspect lists` : "";
		throw new SaeError(`${path}: is a folder of SAEs; name one of them: ${names.join(", ")}${rest}`);
	}
	const importers = registry.listed.filter(({ kind, used }) => kind === "importer" && used);
	const known = importers.filter(({ entry }) => !entry.installed).map(({ name }) => name);
	const packages = importers.filter(({ entry }) => entry.installed).map(({ entry }) => entry.name);
	const hint = packages.length > 0 ? `; to ask ${packages.join(", ")} too, list it in sae.config.toml` : "";
	throw new SaeError(`${path}: is not an SAE in a format that can be read (${known.join(", ")})${hint}`);
}

/** The importer that recognises `path`, if any. */
export async function recogniser(
	path: string,
	registry: Registry,
): Promise<ImporterContribution | undefined> {
	for (const importer of await registry.all("importer")) {
		if (await importer.detect(path)) return importer;
	}
	return undefined;
}

/** The folder of an SAE that a file is a part of: its own, or the one above, as some keep weights apart. */
export async function folderOf(path: string, registry: Registry): Promise<string | undefined> {
	if (!(await stat(path)).isFile()) return undefined;
	const own = dirname(path);
	for (const folder of [own, dirname(own)]) if (await recogniser(folder, registry)) return folder;
	return undefined;
}

/** Names in an error; files and folders looked at below a folder; how deep they may lie. */
const MAX_NAMED = 8;
const MAX_ENTRIES = 5000;
const MAX_DEPTH = 5;
/** Files that may be an SAE by themselves. */
const SINGLE_FILES = [".pt", ".pth", ".npz", ".safetensors"];

/** An SAE below a folder. */
export interface FoundSae {
	/** Below the folder. */
	readonly path: string;
	/** The importer that knows it. */
	readonly format: string;
}

/** The SAEs below a folder, in the order of their paths; not all of them where there are very many files. */
export async function saesIn(
	folder: string,
	registry: Registry,
): Promise<{ readonly found: readonly FoundSae[]; readonly complete: boolean }> {
	const found: FoundSae[] = [];
	let left = MAX_ENTRIES;
	const visit = async (below: string, depth: number): Promise<void> => {
		const entries = await readdir(join(folder, below), { withFileTypes: true }).catch(() => []);
		for (const entry of entries.toSorted((a, b) => inOrder(a.name, b.name))) {
			const isFolder = entry.isDirectory();
			if (!isFolder && !SINGLE_FILES.includes(extname(entry.name))) continue;
			if (--left < 0) return;
			const path = join(below, entry.name);
			const importer = await recogniser(join(folder, path), registry);
			if (importer) found.push({ path, format: importer.name });
			else if (isFolder && depth < MAX_DEPTH) await visit(path, depth + 1);
		}
	};
	await visit("", 1);
	return { found, complete: left >= 0 };
}

/** `layers.2` before `layers.10`. */
function inOrder(a: string, b: string): number {
	return a.localeCompare(b, "en", { numeric: true });
}

/**
 * Writes an SAE as a folder in the native format, which is SAELens': `cfg.json` and `sae_weights.safetensors`.
 * Readers see the old SAE or the new one; other files in the folder stay.
 *
 * @throws SaeError when the SAE is not sound or can't be written.
 * @example
 * await saveSae({ ...sae, metadata: { ...sae.metadata, note: "folded" } }, "runs/folded");
 */
export async function saveSae(model: SaeModel, path: string, registry?: Registry): Promise<void> {
	const exporter = await (registry ?? (await builtIn())).find("exporter", NATIVE_FORMAT);
	if (!exporter) throw new SaeError(`no plugin writes the native format ${NATIVE_FORMAT}`);
	await exporter.write(model, path, exporter.options.parse({}));
}
