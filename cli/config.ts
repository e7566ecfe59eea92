/**
 * Run files: `--config run.toml` gives the same options as the flags, under their snake_case names. JSON (with
 * comments) and TOML are read as data; nothing in them is executed. Flags win over the file. The plugin may be named
 * in it too, under its kind. For `sae activations … | sae train --config run.toml`:
 *
 * ```toml
 * architecture = "topk"
 * d_sae = 2048
 * k = 32
 * tokens = 1_000_000
 * out = "my-sae"
 * ```
 */
import { extname } from "node:path";
import { usageError } from "../core/errors.ts";

const PARSERS: Readonly<Record<string, (text: string) => unknown>> = {
	".json": (text) => Bun.JSONC.parse(text),
	".jsonc": (text) => Bun.JSONC.parse(text),
	".toml": (text) => Bun.TOML.parse(text),
};

const MAX_BYTES = 1 << 20;

/** The path given by `--config`, before it is known which flags there are. */
export function configPath(words: readonly string[]): string | undefined {
	const at = words.findIndex((word) => word === "--config" || word.startsWith("--config="));
	const word = words[at];
	if (word === undefined) return undefined;
	return word.includes("=") ? word.slice(word.indexOf("=") + 1) : words[at + 1];
}

/** The file's options by name, not yet validated. @throws a usage error that names the file. */
export async function readConfig(path: string): Promise<Readonly<Record<string, unknown>>> {
	const parse = PARSERS[extname(path).toLowerCase()];
	if (!parse) throw usageError(`--config ${path}: must be a .json, .jsonc or .toml file`);
	const file = Bun.file(path);
	if (!(await file.exists())) throw usageError(`--config ${path}: no such file`);
	if (file.size > MAX_BYTES) throw usageError(`--config ${path}: larger than 1 MiB, so hardly a run file`);
	const content = parseOrExplain(await file.text(), parse, path);
	if (typeof content !== "object" || content === null || Array.isArray(content)) {
		throw usageError(`--config ${path}: must hold options by name, e.g. {"d_sae": 2048}`);
	}
	return content as Record<string, unknown>;
}

function parseOrExplain(text: string, parse: (text: string) => unknown, path: string): unknown {
	try {
		return parse(text);
	} catch (error) {
		throw usageError(`--config ${path}: ${error instanceof Error ? error.message : error}`);
	}
}
