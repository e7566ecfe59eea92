/** The help page of a verb, or of a verb with one of its plugins. */
import type { Contribution } from "../core/plugin.ts";
import type { VerbSpec } from "./command.ts";
import { flagSection, type HelpPage, type HelpSection } from "./help.ts";
import { COMMON_FLAGS, flagsOfGroup, type OptionGroup, placeholder, wordsOfGroup } from "./options.ts";

/** Where the first word names a plugin: its kind, which there are, and which one was named. */
export interface PluginChoice {
	readonly kind: string;
	readonly optional: boolean;
	readonly known: readonly Pick<Contribution, "name" | "summary">[];
	readonly chosen: Contribution | undefined;
}

export function helpPage(
	spec: Omit<VerbSpec, "options">,
	groups: readonly OptionGroup[],
	plugin: PluginChoice | undefined,
): HelpPage {
	const slots = groups.flatMap(wordsOfGroup);
	const words = slots.map(({ flag, variadic }) => {
		const name = placeholder(flag.key, variadic);
		return flag.required ? name : `[${name}]`;
	});
	// What a plugin adds is what its page is for.
	const contributed = groups.filter((group) => group.contribution);
	const own = groups.filter((group) => !group.contribution);
	const sections: HelpSection[] = [
		{
			title: "Arguments",
			rows: slots.map(({ flag, variadic }) => [placeholder(flag.key, variadic), flag.summary]),
		},
		...[...contributed, ...own].map((group) => flagSection(titleOf(group, spec.name), flagsOfGroup(group))),
		flagSection("Common options", COMMON_FLAGS),
	];
	if (!plugin) return { ...introduction(spec), usage: usage([spec.name, ...words]), sections };
	if (plugin.chosen) {
		const { name, summary } = plugin.chosen;
		return {
			summary: `sae ${spec.name} ${name}: ${summary}`,
			details: spec.details,
			examples: spec.examples.filter(({ command }) => command.includes(`${spec.name} ${name}`)),
			usage: usage([spec.name, name, ...words]),
			sections,
		};
	}
	const slot = plugin.optional ? `[${plugin.kind.toUpperCase()}]` : plugin.kind.toUpperCase();
	const plugins: HelpSection = {
		title: `${plugin.kind.toUpperCase()} is one of these; \`sae ${spec.name} ${plugin.kind.toUpperCase()} --help\` explains it`,
		rows: plugin.known.map(({ name, summary }) => [name, summary]),
	};
	return {
		...introduction(spec),
		usage: usage([spec.name, slot, ...words]),
		sections: [plugins, ...sections],
	};
}

function introduction(spec: Omit<VerbSpec, "options">): Pick<HelpPage, "summary" | "details" | "examples"> {
	return { summary: `sae ${spec.name}: ${spec.summary}`, details: spec.details, examples: spec.examples };
}

function usage(words: readonly string[]): string {
	return ["sae", ...words, "[options]"].join(" ");
}

function titleOf({ contribution }: OptionGroup, verb: string): string {
	return contribution ? `Options of the ${contribution.kind} ${contribution.name}` : `Options of sae ${verb}`;
}
