/** Reads command-line words against known flags, strictly: whatever is not understood is an error. */
import { parseArgs } from "node:util";
import { usageError } from "../core/errors.ts";
import type { Flag } from "./flags.ts";
import { didYouMean } from "./suggest.ts";

export type OptionValue = string | number | boolean | (string | number | boolean)[];

export interface ParsedArgv {
	/** Option key → value; only what was given. */
	readonly values: Readonly<Record<string, OptionValue>>;
	readonly positionals: readonly string[];
}

const NUMBER = /^([+-]?(?:\d+\.?\d*|\.\d+))([eE][+-]?\d+|[kMGT])?$/;
const EXPONENTS: Readonly<Record<string, string>> = { k: "e3", M: "e6", G: "e9", T: "e12" };

/** The number that text writes, e.g. 0.5, 1e-3 or 20M; undefined where it is none. */
export function readNumber(text: string): number | undefined {
	const [, digits, ending = ""] = NUMBER.exec(text) ?? [];
	return digits === undefined ? undefined : Number(digits + (EXPONENTS[ending] ?? ending));
}

/**
 * Accepts `--flag value`, `--flag=value`, `--no-flag` for booleans, negative numbers, `-` for stdin and `--` before
 * words that begin with a dash.
 * @throws a usage error for unknown, repeated or valueless flags, with the nearest known flag.
 */
export function parseArgv(words: readonly string[], flags: readonly Flag[]): ParsedArgv {
	const byName = new Map(flags.map((flag) => [flag.name, flag]));
	const { tokens } = parseArgs({
		args: [...words],
		strict: false,
		tokens: true,
		allowPositionals: true,
		options: Object.fromEntries(
			flags.map((flag) => [
				flag.name,
				{ type: flag.type === "boolean" ? "boolean" : "string", multiple: true } as const,
			]),
		),
	});
	const values: Record<string, OptionValue> = {};
	const positionals: string[] = [];
	for (const token of tokens) {
		if (token.kind === "positional") positionals.push(token.value);
		if (token.kind !== "option") continue;
		const negated = token.rawName.startsWith("--no-") ? byName.get(token.rawName.slice(5)) : undefined;
		const flag = byName.get(token.name) ?? negated;
		if (!flag || !token.rawName.startsWith("--")) throw unknownFlag(token.rawName, byName);
		const value =
			flag === negated ? negate(flag, token.value) : readValue(flag, token.value, token.inlineValue ?? false);
		if (flag.repeated) {
			values[flag.key] = [...((values[flag.key] as (string | number)[] | undefined) ?? []), value];
		} else if (flag.key in values) {
			throw usageError(`--${flag.name} is given twice`);
		} else {
			values[flag.key] = value;
		}
	}
	return { values, positionals };
}

/** What text becomes before zod checks it. Text that is no number stays text, and zod says so. */
export function coerce(flag: Flag, text: string): string | number {
	const numeric = flag.type === "number" || flag.type === "scalar";
	return (numeric ? readNumber(text) : undefined) ?? text;
}

function readValue(flag: Flag, text: string | undefined, inline: boolean): string | number | boolean {
	if (flag.type === "boolean") {
		if (text === undefined || text === "true") return true;
		if (text === "false") return false;
		throw usageError(`--${flag.name} is a switch: give --${flag.name} or --no-${flag.name}, without ${text}`);
	}
	const looksLikeFlag = text !== undefined && !inline && /^-./.test(text) && !NUMBER.test(text);
	if (text === undefined || looksLikeFlag) {
		throw usageError(`--${flag.name} needs a value: --${flag.name} ${flag.hint}`);
	}
	return coerce(flag, text);
}

function negate(flag: Flag, text: string | undefined): false {
	if (flag.type !== "boolean") throw usageError(`--no-${flag.name}: --${flag.name} is no switch`);
	if (text !== undefined) throw usageError(`--no-${flag.name} takes no value`);
	return false;
}

function unknownFlag(rawName: string, known: ReadonlyMap<string, Flag>): Error {
	const hint = didYouMean(rawName.replace(/^-+/, ""), known.keys(), "--");
	return usageError(`unknown option ${rawName}${hint}`);
}
