/** From words, a run file and zod schemas to the validated options of everything that takes part in a command. */
import { z } from "zod";
import { isSaeError, usageError } from "../core/errors.ts";
import type { Contribution } from "../core/plugin.ts";
import { type OptionValue, parseArgv } from "./argv.ts";
import { type Flag, flagsOf } from "./flags.ts";
import { didYouMean } from "./suggest.ts";
import { asFlag, validate } from "./validate.ts";

/** Options that belong together: a verb's own, or those of one contribution. */
export interface OptionGroup {
	readonly schema: z.ZodType;
	/** Which of them are plain words, in order. */
	readonly positionals: readonly { readonly key: string; readonly variadic?: boolean }[];
	/** Whose options they are; absent for the verb's own. */
	readonly contribution?: Contribution;
}

/** A run file that was read: options by snake_case name. */
export interface RunFile {
	readonly path: string;
	readonly values: Readonly<Record<string, unknown>>;
}

export const COMMON_FLAGS: readonly Flag[] = flagsOf(
	z.object({
		config: z
			.string()
			.optional()
			.meta({ hint: "FILE" })
			.describe("Take options from a TOML or JSON file, by their names with _ for -; flags win"),
		debug: z.boolean().default(false).describe("More messages, and the stack of an error"),
		help: z.boolean().default(false).describe("This page"),
	}),
);

/** The options of a group that are given as `--flags`. */
export function flagsOfGroup(group: OptionGroup): Flag[] {
	const words = new Set(group.positionals.map(({ key }) => key));
	return flagsOf(group.schema).filter((flag) => !words.has(flag.key));
}

/** The options of a group that are given as plain words, in order. */
export function wordsOfGroup(group: OptionGroup): { readonly flag: Flag; readonly variadic: boolean }[] {
	const flags = flagsOf(group.schema);
	return group.positionals.map(({ key, variadic = false }) => {
		const flag = flags.find((candidate) => candidate.key === key);
		if (!flag) throw new TypeError(`the positional ${key} is not among the options`);
		return { flag, variadic };
	});
}

/**
 * The validated options of each group, in the groups' order. A key that several groups have goes to each of them.
 * @throws a usage error with a line for everything that is wrong.
 */
export function readOptions(
	words: readonly string[],
	groups: readonly OptionGroup[],
	file: RunFile | undefined,
): unknown[] {
	const flags = groups.flatMap(flagsOfGroup);
	const given = parseArgv(words, [...flags, ...COMMON_FLAGS]);
	const slots = groups.flatMap(wordsOfGroup);
	const placed = placeWords(given.positionals, slots);
	if (file) refuseUnknownKeys(file, [...flags, ...slots.map((slot) => slot.flag)]);
	const fromWords: Readonly<Record<string, OptionValue>> = { ...given.values, ...placed };
	const values = { ...file?.values, ...fromWords };
	const nameOf = (key: string) => {
		if (file && key in file.values && !(key in fromWords)) return `${file.path}: ${key}`;
		return slots.some(({ flag }) => flag.key === key) ? placeholder(key) : asFlag(key);
	};
	const outputs: unknown[] = [];
	const complaints: string[] = [];
	for (const group of groups) {
		const keys = flagsOf(group.schema).map((flag) => flag.key);
		const own = Object.fromEntries(keys.filter((key) => key in values).map((key) => [key, values[key]]));
		try {
			outputs.push(validate(group.schema, own, nameOf));
		} catch (error) {
			if (!isSaeError(error)) throw error;
			complaints.push(error.message);
		}
	}
	if (complaints.length > 0) throw usageError([...new Set(complaints)].join("\n"));
	return outputs;
}

/** How a plain word is written in help and messages: `SAE`, `FILE...`. */
export function placeholder(key: string, variadic = false): string {
	return key.toUpperCase() + (variadic ? "..." : "");
}

function placeWords(
	words: readonly string[],
	slots: readonly { readonly flag: Flag; readonly variadic: boolean }[],
): Record<string, string | string[]> {
	const placed: Record<string, string | string[]> = {};
	const left = [...words];
	for (const { flag, variadic } of slots) {
		if (left.length === 0) break;
		placed[flag.key] = variadic ? left.splice(0) : left.shift()!;
	}
	if (left.length > 0) throw usageError(`unexpected argument ${left.join(" ")}`);
	return placed;
}

function refuseUnknownKeys(file: RunFile, known: readonly Flag[]): void {
	const keys = known.map((flag) => flag.key);
	for (const key of Object.keys(file.values)) {
		if (!keys.includes(key)) throw usageError(`${file.path}: unknown option ${key}${didYouMean(key, keys)}`);
	}
}
