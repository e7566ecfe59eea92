/** A verb whose first word names one of several verbs, e.g. `sae report pareto`. */
import { defineCommand, runCommand } from "citty";
import { usageError } from "../core/errors.ts";
import { type Verb, wantsHelp } from "./command.ts";
import { type Example, flagSection, renderHelp } from "./help.ts";
import { COMMON_FLAGS } from "./options.ts";
import { printText } from "./stdout.ts";
import { didYouMean } from "./suggest.ts";

export interface FamilySpec {
	readonly name: string;
	/** One line: what its verbs are for. */
	readonly summary: string;
	readonly details?: string;
	readonly examples: readonly Example[];
	/** What the first word is, e.g. `report`. */
	readonly kind: string;
	/** By their words. Their own names are both words: `report pareto`. */
	readonly verbs: Readonly<Record<string, { readonly summary: string; load(): Promise<Verb> }>>;
}

export function defineVerbFamily(spec: FamilySpec): Verb {
	const { name, summary, verbs } = spec;
	return {
		...defineCommand({
			meta: { name, description: summary },
			async run({ rawArgs: [first, ...rest] }) {
				if (first !== undefined && Object.hasOwn(verbs, first)) {
					await runCommand(await verbs[first]!.load(), { rawArgs: rest });
				} else if (wantsHelp([first ?? "", ...rest])) await printText(renderHelp(page(spec)));
				else throw unknown(spec, first);
			},
		}),
		firstWords: async () => Object.entries(verbs).map(([word, { summary }]) => ({ word, summary })),
		groups: async (first) =>
			first !== undefined && Object.hasOwn(verbs, first)
				? (await verbs[first]!.load()).groups(undefined)
				: [],
	};
}

function unknown({ name, kind, verbs }: FamilySpec, word: string | undefined): Error {
	const words = Object.keys(verbs);
	if (word === undefined || word.startsWith("-")) {
		return usageError(
			`which ${kind}? Write its name right after the verb: ${words.map((one) => `sae ${name} ${one}`).join(", ")}`,
		);
	}
	return usageError(`unknown ${kind} ${word}${didYouMean(word, words) || `; there is ${words.join(", ")}`}`);
}

function page({ name, summary, details, examples, kind, verbs }: FamilySpec) {
	const slot = kind.toUpperCase();
	return {
		summary: `sae ${name}: ${summary}`,
		usage: `sae ${name} ${slot} [options]`,
		details,
		examples,
		sections: [
			{
				title: `${slot} is one of these; \`sae ${name} ${slot} --help\` explains it`,
				rows: Object.entries(verbs).map(([word, { summary }]) => [word, summary] as const),
			},
			flagSection("Common options", COMMON_FLAGS),
		],
	};
}
