/** `sae plugin`: what there is to name, and a package to begin one's own with. */
import { z } from "zod";
import { usageError } from "../../core/errors.ts";
import type { ContributionKind } from "../../core/plugin.ts";
import { type Listed, versionProblem } from "../../core/registry.ts";
import packageJson from "../../package.json" with { type: "json" };
import { defineVerb } from "../command.ts";
import { columns, renderSection } from "../help.ts";
import { registry } from "../plugins.ts";
import { printText } from "../stdout.ts";

/** The commands that take each kind of plugin. */
const USED_BY = {
	source: "sae activations",
	architecture: "sae train",
	trainer: "sae train",
	evaluator: "sae eval",
	interpreter: "sae interpret",
	exporter: "sae export",
	importer: "every command that reads an SAE",
} as const satisfies Record<ContributionKind, string>;

const KINDS = Object.keys(USED_BY) as ContributionKind[];

/** The same verb under either name: `sae plugins` came first, `sae plugin new` reads better. */
export const pluginVerb = (name: string) =>
	defineVerb({
		name,
		summary: "lists the plugins that the commands can use, or starts a package for one of your own",
		details:
			"Plugins are packages called sae-plugin-* or @scope/sae-plugin-* in node_modules, here or in a folder above, " +
			"and those that sae.config.toml lists. Listing them reads their package.json and runs none of their code.",
		examples: [
			{ command: `sae ${name} list` },
			{ command: `sae ${name} list --json | jq -r '.[].name'` },
			{ command: `sae ${name} new my-topk`, note: "a package of a new architecture, with a test" },
		],
		positionals: [{ key: "action" }, { key: "name" }],
		options: z.object({
			action: z.enum(["list", "new"]).default("list").describe("list or new; list unless given"),
			name: z
				.string()
				.optional()
				.describe("With new: what commands will call it, or the package's whole name"),
			kind: z
				.enum(["architecture", "source", "evaluator"])
				.default("architecture")
				.describe("With new: what it will contribute"),
			json: z.boolean().default(false).describe("With list: print a JSON array instead of text"),
		}),
		async run({ options, context }) {
			if (options.action === "list") {
				if (options.name !== undefined) throw usageError(`unexpected argument ${options.name}`);
				return list(options.json);
			}
			if (options.name === undefined) throw usageError(`which name? sae ${name} new NAME`);
			const { scaffold } = await import("../scaffold.ts");
			const folder = await scaffold(options.name, options.kind);
			context.log.info(`wrote ${folder}; next: cd ${folder} && npm install && npm test`);
		},
	});

export default pluginVerb("plugin");

function list(json: boolean): Promise<void> {
	const rows = KINDS.flatMap((kind) => registry.listed.filter((one) => one.kind === kind).map(rowOf));
	if (json) return printText(`${JSON.stringify(rows, null, 2)}\n`);
	const sections = KINDS.map((kind) => ({
		title: `${kind} (for ${USED_BY[kind]})`,
		rows: rows.filter((row) => row.kind === kind).map((row) => [row.name, asText(row)] as const),
	}));
	const shown = sections.filter(({ rows }) => rows.length > 0);
	return printText(`${shown.map((section) => renderSection(section, columns())).join("\n\n")}\n`);
}

interface Row {
	readonly kind: ContributionKind;
	readonly name: string;
	readonly package: string;
	readonly version: string;
	/** The package's, where it is not saeflow itself. */
	readonly description?: string;
	/** Why naming it does not get this one. */
	readonly problem?: string;
}

/** What is known of a contribution without running its plugin. */
function rowOf({ kind, name, entry, used }: Listed): Row {
	const { package: origin } = entry;
	if (!origin)
		return { kind, name, package: packageJson.name, version: packageJson.version, ...unused(used) };
	const problem = versionProblem(origin.apiVersion);
	return {
		kind,
		name,
		package: origin.name,
		version: origin.version,
		...(origin.description && { description: origin.description }),
		...(problem ? { problem } : unused(used)),
	};
}

function unused(used: boolean): { readonly problem?: string } {
	return used ? {} : { problem: "another package provides this name too" };
}

function asText({ package: origin, version, description, problem }: Row): string {
	return [`${origin} ${version}`, description, problem && `not used, ${problem}`].filter(Boolean).join(": ");
}
