/** What may come next on a command line. Completion scripts ask for it at each press of Tab. */
import type { Flag } from "./flags.ts";
import { COMMON_FLAGS, flagsOfGroup, wordsOfGroup } from "./options.ts";
import { VERBS } from "./verbs.ts";

export interface Candidate {
	readonly word: string;
	readonly summary: string;
}

/** Stands for whatever files there are; the shell knows them better. */
export const FILES: Candidate = { word: ":files", summary: "" };

/**
 * Candidates for the last of `words`, which are those after `sae`; it may be empty or half typed.
 * bash makes words of `=`, which are passed over.
 */
export async function complete(words: readonly string[]): Promise<Candidate[]> {
	const current = words.at(-1) === "=" ? "" : (words.at(-1) ?? "");
	const before = words.slice(0, -1).filter((word) => word !== "=");
	const candidates = await all(before, current);
	return candidates.filter(({ word }) => word === FILES.word || word.startsWith(current));
}

async function all(before: readonly string[], current: string): Promise<Candidate[]> {
	const [name, first] = before;
	if (name === undefined) return verbs();
	if (!Object.hasOwn(VERBS, name)) return [];
	const verb = await VERBS[name]!.load();
	if (verb.firstWords && before.length === 1 && !current.startsWith("-"))
		return [...(await verb.firstWords())];
	const groups = await verb.groups(first?.startsWith("-") ? undefined : first);
	const flags = [...groups.flatMap(flagsOfGroup), ...COMMON_FLAGS];
	const last = flags.find((flag) => before.at(-1) === `--${flag.name}`);
	if (last && last.type !== "boolean") return values(last);
	if (current.startsWith("-")) return flags.filter((flag) => !isUsed(flag, before)).flatMap(flagWords);
	return groups
		.flatMap(wordsOfGroup)
		.flatMap(({ flag }) => (flag.choices.length > 0 ? values(flag) : [FILES]));
}

function verbs(): Candidate[] {
	return [
		...Object.entries(VERBS).map(([word, { summary }]) => ({ word, summary })),
		{ word: "--help", summary: "What there is" },
		{ word: "--version", summary: "Print the version" },
	];
}

/** What may follow a flag. Free text and numbers have no candidates; what is called a file or folder has files. */
function values(flag: Flag): Candidate[] {
	if (flag.choices.length > 0) return flag.choices.map((word) => ({ word, summary: "" }));
	return /FILE|FOLDER|DIR|PATH|SAE/.test(flag.hint) ? [FILES] : [];
}

function flagWords(flag: Flag): Candidate[] {
	const { name, summary } = flag;
	const words = flag.type === "boolean" && flag.default === true ? [`--no-${name}`] : [`--${name}`];
	return words.map((word) => ({ word, summary }));
}

function isUsed(flag: Flag, before: readonly string[]): boolean {
	return (
		!flag.repeated && before.some((word) => word === `--${flag.name}` || word.startsWith(`--${flag.name}=`))
	);
}
