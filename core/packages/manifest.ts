/** What a plugin package says about itself in its package.json, read without running any of its code. */
import { readFile } from "node:fs/promises";
import { join } from "node:path";
import { z } from "zod";
import { SaeError } from "../errors.ts";
import { API_VERSION, type ContributionKind } from "../plugin.ts";
import type { PluginEntry, PluginPackage } from "../registry.ts";
import { loadPackage } from "./load.ts";

const KINDS = Object.keys({
	source: true,
	architecture: true,
	trainer: true,
	exporter: true,
	importer: true,
	evaluator: true,
	interpreter: true,
} satisfies Record<ContributionKind, true>);
const KEY = new RegExp(`^(${KINDS.join("|")}):[\\w.-]+$`);

const Provided = z.custom<PluginEntry["provides"][number]>(
	(text) => typeof text === "string" && KEY.test(text),
	{ error: ({ input }) => `${JSON.stringify(input)} is not kind:name with a kind of ${KINDS.join(", ")}` },
);

const PackageJson = z.object({
	name: z.string(),
	version: z.string(),
	description: z.string().default(""),
	sae: z.object(
		{ apiVersion: z.int(), provides: z.array(z.unknown()).min(1) },
		{ error: 'must be like {"apiVersion": 1, "provides": ["source:mine"]}' },
	),
});

/**
 * The plugin of the package in `folder`.
 * @throws SaeError that names the package, when its package.json is missing or has no sound manifest.
 */
export async function readPackage(folder: string): Promise<PluginEntry> {
	const path = join(folder, "package.json");
	const text = await readFile(path, "utf8").catch((error: NodeJS.ErrnoException) => {
		throw new SaeError(`${path}: can't be read (${error.code})`);
	});
	const json = parsed(PackageJson, parseJson(text, path), path, []);
	const { name, version, description, sae } = json;
	// Kinds of another version of the interfaces are not known here, and are not what is wrong with it.
	const provides =
		sae.apiVersion === API_VERSION
			? parsed(z.array(Provided), sae.provides, path, ["sae", "provides"])
			: sae.provides.filter((key) => Provided.safeParse(key).success);
	const origin: PluginPackage = { name, version, description, apiVersion: sae.apiVersion, folder };
	return {
		name,
		provides: provides as PluginEntry["provides"],
		package: origin,
		load: () => loadPackage(origin),
	};
}

function parseJson(text: string, path: string): unknown {
	try {
		return JSON.parse(text);
	} catch {
		throw new SaeError(`${path}: is not JSON`);
	}
}

function parsed<S extends z.ZodType>(
	schema: S,
	value: unknown,
	path: string,
	within: readonly string[],
): z.output<S> {
	const result = schema.safeParse(value);
	if (result.success) return result.data;
	const complaints = result.error.issues.map(({ path: keys, message }) =>
		[[...within, ...keys].join("."), message].filter(Boolean).join(": "),
	);
	throw new SaeError(`${path}: ${complaints.join("; ")}`);
}
