/** Finding the plugin that reads a path, and the one that writes the native format. */
import { access } from "node:fs/promises";
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

/** The importer that recognises `path`. @throws SaeError when there is nothing, or nobody knows it. */
export async function importerOf(path: string, registry: Registry): Promise<ImporterContribution> {
	await access(path).catch((error: NodeJS.ErrnoException) => {
		throw new SaeError(
			`${path}: ${error.code === "ENOENT" ? "there is no such file or folder" : error.message}`,
		);
	});
	for (const importer of await registry.all("importer")) {
		if (await importer.detect(path)) return importer;
	}
	const importers = registry.listed.filter(({ kind, used }) => kind === "importer" && used);
	const known = importers.filter(({ entry }) => !entry.installed).map(({ name }) => name);
	const packages = importers.filter(({ entry }) => entry.installed).map(({ entry }) => entry.name);
	const hint = packages.length > 0 ? `; to ask ${packages.join(", ")} too, list it in sae.config.toml` : "";
	throw new SaeError(`${path}: is not an SAE in a format that can be read (${known.join(", ")})${hint}`);
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
