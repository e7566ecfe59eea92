/**
 * Files of settings, which are TOML or JSON (with comments) and are read as data; nothing in them is executed.
 *
 * Run files: `--config run.toml` gives the same options as the flags, under their snake_case names.
 * Flags win over the file. The plugin may be named in it too, under its kind, and `plugins` may list packages as the
 * project's file does. For `sae activations … | sae train --config run.toml`:
 *
 * ```toml
 * architecture = "topk"
 * d_sae = 2048
 * k = 32
 * tokens = 1_000_000
 * out = "my-sae"
 * ```
 *
 * The project's file: `sae.config.toml` (or .json, .jsonc) in the current directory, or else the nearest one above,
 * lists plugins for all commands, by package name or by path relative to the file:
 *
 * ```toml
 * plugins = ["sae-plugin-gemma", "./my-plugin"]
 * ```
 */
import { dirname, extname, join, resolve } from "node:path";
import { z } from "zod";
import { usageError } from "../core/errors.ts";
import { validate } from "./validate.ts";

const PARSERS: Readonly<Record<string, (text: string) => unknown>> = {
	".json": (text) => Bun.JSONC.parse(text),
	".jsonc": (text) => Bun.JSONC.parse(text),
	".toml": (text) => Bun.TOML.parse(text),
};

const MAX_BYTES = 1 << 20;

const PROJECT_FILE = "sae.config";

/** Plugins that a file lists, and what they are relative to. */
export interface PluginList {
	readonly specs: readonly string[];
	readonly file: string;
}

/** The path given by `--config`, before it is known which flags there are. */
export function configPath(words: readonly string[]): string | undefined {
	const at = words.findIndex((word) => word === "--config" || word.startsWith("--config="));
	const word = words[at];
	if (word === undefined) return undefined;
	return word.includes("=") ? word.slice(word.indexOf("=") + 1) : words[at + 1];
}

/** A run file's plugins and options by name; the options are not yet validated. @throws a usage error naming it. */
export async function readRunFile(
	path: string,
): Promise<{ readonly plugins: PluginList; readonly values: Readonly<Record<string, unknown>> }> {
	const { plugins, ...values } = await readSettings(path, `--config ${path}`);
	return { plugins: pluginList({ plugins }, path), values };
}

/** What the file of the project that `folder` is in lists. @throws a usage error naming the file. */
export async function readProject(folder: string): Promise<PluginList | undefined> {
	for (const extension of Object.keys(PARSERS)) {
		const path = join(folder, PROJECT_FILE + extension);
		if (!(await Bun.file(path).exists())) continue;
		const { plugins, ...others } = await readSettings(path, path);
		for (const key of Object.keys(others))
			throw usageError(`${path}: unknown option ${key}; it holds plugins`);
		return pluginList({ plugins }, path);
	}
	const above = dirname(folder);
	return above === folder ? undefined : readProject(above);
}

const Project = z.object({ plugins: z.array(z.string().min(1)).default([]) });

function pluginList(settings: Readonly<Record<string, unknown>>, path: string): PluginList {
	const { plugins } = validate(Project, settings, (key) => `${path}: ${key}`);
	return { specs: plugins, file: resolve(path) };
}

async function readSettings(path: string, shown: string): Promise<Readonly<Record<string, unknown>>> {
	const parse = PARSERS[extname(path).toLowerCase()];
	if (!parse) throw usageError(`${shown}: must be a .json, .jsonc or .toml file`);
	const file = Bun.file(path);
	if (!(await file.exists())) throw usageError(`${shown}: no such file`);
	if (file.size > MAX_BYTES) throw usageError(`${shown}: larger than 1 MiB, so hardly a file of settings`);
	const content = parseOrExplain(await file.text(), parse, shown);
	if (typeof content !== "object" || content === null || Array.isArray(content)) {
		throw usageError(`${shown}: must hold options by name, e.g. {"d_sae": 2048}`);
	}
	return content as Record<string, unknown>;
}

function parseOrExplain(text: string, parse: (text: string) => unknown, shown: string): unknown {
	try {
		return parse(text);
	} catch (error) {
		throw usageError(`${shown}: ${error instanceof Error ? error.message : error}`);
	}
}
