/** `sae plugins`: what there is to name. */
import { z } from "zod";
import type { ContributionKind } from "../../core/plugin.ts";
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
	exporter: "sae export",
	importer: "every command that reads an SAE",
} as const satisfies Record<ContributionKind, string>;

const KINDS = Object.keys(USED_BY) as ContributionKind[];

export default defineVerb({
	name: "plugins",
	summary: "lists the plugins that the commands can use, by kind",
	examples: [{ command: "sae plugins" }, { command: "sae plugins --json | jq -r '.[].name'" }],
	options: z.object({
		json: z.boolean().default(false).describe("Print a JSON array instead of text"),
	}),
	async run({ options }) {
		const all = (await Promise.all(KINDS.map((kind) => registry.all(kind)))).flat();
		if (options.json) {
			const rows = all.map(({ kind, name, summary }) => ({ kind, name, summary }));
			return printText(`${JSON.stringify(rows, null, 2)}\n`);
		}
		const sections = KINDS.map((kind) => ({
			title: `${kind} (for ${USED_BY[kind]})`,
			rows: all.filter((plugin) => plugin.kind === kind).map(({ name, summary }) => [name, summary] as const),
		}));
		const shown = sections.filter(({ rows }) => rows.length > 0);
		await printText(`${shown.map((section) => renderSection(section, columns())).join("\n\n")}\n`);
	},
});
