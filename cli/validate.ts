/** Checks option values with zod and says in one line each what is wrong with them. */
import type { z } from "zod";
import { usageError } from "../core/errors.ts";
import { kebab } from "./flags.ts";

/** How a person wrote an option: `--d-sae`, or `run.toml: d_sae`. */
export type OptionName = (key: string) => string;

export const asFlag: OptionName = (key) => `--${kebab(key)}`;

/** The schema's output for `values`. @throws a usage error with one line per issue. */
export function validate<S extends z.ZodType>(
	schema: S,
	values: Readonly<Record<string, unknown>>,
	nameOf: OptionName = asFlag,
): z.output<S> {
	const result = schema.safeParse(values, { reportInput: true });
	if (result.success) return result.data;
	throw usageError(result.error.issues.map((issue) => describe(issue, nameOf)).join("\n"));
}

function describe(issue: z.core.$ZodIssue, nameOf: OptionName): string {
	const [key, ...path] = issue.path;
	const where = [key === undefined ? "options" : nameOf(String(key)), ...path.map(String)].join(".");
	if ("input" in issue && issue.input === undefined) return `${where} is required`;
	const got = "input" in issue && key !== undefined ? `, got ${show(issue.input)}` : "";
	return `${where}: ${complaint(issue)}${got}`;
}

function complaint(issue: z.core.$ZodIssue): string {
	switch (issue.code) {
		case "invalid_type":
			return `must be ${EXPECTED[issue.expected] ?? `of type ${issue.expected}`}`;
		case "too_small":
			if (!isNumeric(issue.origin) && issue.minimum === 1) return "must not be empty";
			return `must ${size(issue.origin)}${issue.inclusive === false ? "more than" : "at least"} ${issue.minimum}`;
		case "too_big":
			return `must ${size(issue.origin)}${issue.inclusive === false ? "less than" : "at most"} ${issue.maximum}`;
		case "invalid_value":
			return `must be ${issue.values.length > 1 ? "one of " : ""}${issue.values.join(", ")}`;
		case "not_multiple_of":
			return `must be a multiple of ${issue.divisor}`;
		case "unrecognized_keys":
			return `has no option ${issue.keys.join(", ")}`;
		default:
			return issue.message;
	}
}

const EXPECTED: Readonly<Record<string, string>> = {
	number: "a number",
	int: "a whole number",
	string: "text",
	boolean: "true or false",
	array: "a list",
};

/** Numbers are compared themselves; of the rest, the length is. */
function size(origin: string): string {
	return isNumeric(origin) ? "be " : "have a length of ";
}

function isNumeric(origin: string): boolean {
	return origin === "number" || origin === "int" || origin === "bigint";
}

function show(value: unknown): string {
	return typeof value === "string" || typeof value === "object" ? JSON.stringify(value) : String(value);
}
