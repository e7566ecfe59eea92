/** What every conformance suite needs: the contribution to check, and failures that say what is wrong. */

import { z } from "zod";
import { isSaeError } from "../errors.ts";
import type { ContributionKind, Plugin } from "../plugin.ts";
import { type ContributionOf, createRegistry } from "../registry.ts";

/** @throws Error with this text, unless the condition holds. */
export function check(condition: unknown, complaint: string): asserts condition {
	if (!condition) throw new Error(complaint);
}

/** Which contribution of a plugin a suite is about, and the options to give it. */
export interface Subject {
	/** May be left out where the plugin has one of the kind. */
	readonly name?: string;
	/** Options as a person would give them, by snake_case name; what is left out gets its default. */
	readonly options?: Readonly<Record<string, unknown>>;
}

/** A contribution that has the parts which all have, with its options, validated. */
export interface Checked<K extends ContributionKind> {
	readonly contribution: ContributionOf<K>;
	readonly options: unknown;
	/** Begins every complaint, e.g. `source mine`. */
	readonly title: string;
}

/** @throws Error where the plugin or what every contribution has is not as it must be. */
export async function checkContribution<K extends ContributionKind>(
	plugin: Plugin,
	kind: K,
	subject: Subject,
): Promise<Checked<K>> {
	const { core } = await import("../api.ts");
	check(typeof plugin?.contributes === "function", "the plugin has no contributes(core)");
	const all = plugin.contributes(core).filter((one) => one.kind === kind);
	const names = all.map(({ name }) => name);
	check(new Set(names).size === names.length, `plugin ${plugin.name}: contributes a ${kind} twice: ${names}`);
	const name = subject.name ?? names[0];
	check(name !== undefined, `plugin ${plugin.name}: contributes no ${kind}`);
	check(
		subject.name !== undefined || names.length === 1,
		`plugin ${plugin.name}: contributes the ${kind}s ${names.join(", ")}; say which with { name }`,
	);
	const title = `${kind} ${name}`;
	// The registry checks what it checks for a command.
	const registry = createRegistry([
		{ name: plugin.name, provides: [`${kind}:${name}`], load: async () => ({ default: plugin }) },
	]);
	const contribution = (await registry.find(kind, name))!;
	check(/^[\w.-]+$/.test(name), `${title}: the name must be of letters, digits, _, . and -`);
	const { summary } = contribution;
	check(typeof summary === "string" && /^[^\n]+$/.test(summary), `${title}: summary must be one line`);
	checkOptions(contribution.options, contribution.positional?.key, title);
	return { contribution, options: parseOptions(contribution.options, subject.options ?? {}, title), title };
}

/** The options' schema: an object, whose keys can become flags, each with a line of help. */
function checkOptions(schema: z.ZodType, positional: string | undefined, title: string): void {
	const object = unwrap(schema);
	check(object instanceof z.ZodObject, `${title}: options must be made by z.object of the z in core`);
	for (const [key, field] of Object.entries(object.shape)) {
		check(/^[a-z][a-z0-9]*(_[a-z0-9]+)*$/.test(key), `${title}: the option ${key} must be in snake_case`);
		check(descriptionOf(field as z.ZodType), `${title}: the option ${key} needs .describe("its help")`);
	}
	check(
		positional === undefined || positional in object.shape,
		`${title}: the positional ${positional} is not among the options`,
	);
}

/** What an object's refinements and transforms were made around. */
function unwrap(schema: unknown): unknown {
	const def = (schema as { def?: { in?: unknown; innerType?: unknown } } | undefined)?.def;
	const inner = def?.in ?? def?.innerType;
	return inner === undefined ? schema : unwrap(inner);
}

function descriptionOf(schema: z.ZodType): string | undefined {
	if (schema.description) return schema.description;
	const { in: from, innerType } = schema.def as { in?: z.ZodType; innerType?: z.ZodType };
	const inner = from ?? innerType;
	return inner && descriptionOf(inner);
}

function parseOptions(schema: z.ZodType, given: Readonly<Record<string, unknown>>, title: string): unknown {
	const unknown = schema instanceof z.ZodObject ? schema.strict() : schema;
	const result = unknown.safeParse(given);
	if (result.success) return result.data;
	const complaints = result.error.issues.map(({ path, message }) => [...path, message].join(": "));
	throw new Error(
		`${title}: refuses the options of the suite, ${JSON.stringify(given)}: ${complaints.join("; ")}`,
	);
}

/** The work must fail as a person can understand: with a SaeError of one line or more, and no other error. */
export async function checkRefuses(work: () => Promise<unknown>, complaint: string): Promise<void> {
	const error = await work().then(
		() => undefined,
		(error: unknown) => error ?? "nothing",
	);
	check(error !== undefined, `${complaint}: it must be refused`);
	check(
		isSaeError(error) && error.message !== "",
		`${complaint}: it must be refused with a SaeError, not with: ${error}`,
	);
}
