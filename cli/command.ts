/**
 * How a verb is written: one file in `cli/commands/` whose default export is made by {@link defineVerb} or, where
 * the first word names a plugin, {@link definePluginVerb}. Both give a citty command that reads its words strictly,
 * answers `--help`, takes `--config`, validates options with zod, and runs with a Context.
 */
import { type CommandDef, defineCommand } from "citty";
import type { z } from "zod";
import { EXIT, usageError } from "../core/errors.ts";
import type { Context, Contribution, ContributionKind } from "../core/plugin.ts";
import type { ContributionOf } from "../core/registry.ts";
import { configPath, readRunFile } from "./config.ts";
import { createContext } from "./context.ts";
import { type Example, renderHelp } from "./help.ts";
import { type OptionGroup, type RunFile, readOptions } from "./options.ts";
import { helpPage } from "./page.ts";
import { descriptions, findContribution, registry, usePlugins } from "./plugins.ts";
import { isReaderGone, printText } from "./stdout.ts";

export interface VerbSpec<O extends z.ZodObject = z.ZodObject> {
	readonly name: string;
	/** One line: what the verb is for. */
	readonly summary: string;
	/** What a newcomer should know besides; lines are wrapped. */
	readonly details?: string;
	readonly examples: readonly Example[];
	/** The verb's options: snake_case keys, each with `.describe()`; `.meta({ hint: "FILE" })` names its value. */
	readonly options: O;
	/** Which options are given as plain words, in order. Only the last may be variadic. */
	readonly positionals?: readonly { readonly key: string & keyof O["shape"]; readonly variadic?: boolean }[];
	/** Options that mean nothing with this contribution, which then are not offered and not given. */
	omits?(contribution: Contribution): readonly (string & keyof O["shape"])[];
	/** Further contributions whose options the verb takes, e.g. the trainer of `train`. */
	also?(): Promise<readonly Contribution[]>;
}

/** What a running verb gets. */
export interface Call<Options> {
	readonly options: Options;
	readonly context: Context;
	/** Those of `also`, in its order. */
	readonly also: readonly Chosen[];
}

/** A contribution with its validated options. */
export interface Chosen<K extends ContributionKind = ContributionKind> {
	readonly contribution: ContributionOf<K>;
	readonly options: unknown;
}

export interface PluginSpec<
	K extends ContributionKind = ContributionKind,
	Optional extends boolean = boolean,
> {
	/** Kind of the contribution that the first word (or a run file, under the kind's name) names. */
	readonly kind: K;
	/** Whether the verb also works without one. */
	readonly optional: Optional;
}

export interface PluginCall<Options, K extends ContributionKind, Optional extends boolean>
	extends Call<Options> {
	/** The contribution that was named. */
	readonly chosen: Optional extends true ? Chosen<K> | undefined : Chosen<K>;
}

/** A citty command that completion can look into. */
export interface Verb extends CommandDef {
	/** What the first word may be, where it is one of a set of names. */
	firstWords?(): Promise<readonly { readonly word: string; readonly summary: string }[]>;
	/** The options that may follow, given the first word. */
	groups(first: string | undefined): Promise<readonly OptionGroup[]>;
}

/** A verb that names no plugin, e.g. `sae encode SAE`. */
export function defineVerb<O extends z.ZodObject>(
	spec: VerbSpec<O> & { run(call: Call<z.output<O>>): Promise<void> },
): Verb {
	return makeVerb(spec, undefined, ({ own, also, context }) =>
		spec.run({ options: own as z.output<O>, also, context }),
	);
}

/** A verb whose first word names a plugin, e.g. `sae activations SOURCE`. */
export function definePluginVerb<O extends z.ZodObject, K extends ContributionKind, Optional extends boolean>(
	spec: VerbSpec<O> & {
		readonly plugin: PluginSpec<K, Optional>;
		run(call: PluginCall<z.output<O>, K, Optional>): Promise<void>;
	},
): Verb {
	type ThisCall = PluginCall<z.output<O>, K, Optional>;
	return makeVerb(spec, spec.plugin, ({ own, chosen, also, context }) =>
		spec.run({ options: own as z.output<O>, chosen: chosen as ThisCall["chosen"], also, context }),
	);
}

interface Prepared {
	readonly own: unknown;
	readonly chosen: Chosen | undefined;
	readonly also: readonly Chosen[];
	readonly context: Context;
}

function makeVerb(
	spec: VerbSpec,
	plugin: PluginSpec | undefined,
	run: (prepared: Prepared) => Promise<void>,
): Verb {
	return {
		...defineCommand({
			meta: { name: spec.name, description: spec.summary },
			run: ({ rawArgs }) => (wantsHelp(rawArgs) ? help(rawArgs) : execute(rawArgs)),
		}),
		...(plugin && { firstWords: () => wordsOf(plugin.kind) }),
		groups: async (name) =>
			groupsOf(spec, plugin && name ? await registry.find(plugin.kind, name) : undefined),
	};

	async function help(words: readonly string[]): Promise<void> {
		const name = plugin && firstWord(words);
		const chosen = name === undefined ? undefined : await findContribution(plugin!.kind, name);
		const groups = await groupsOf(spec, chosen);
		const choice = plugin && { ...plugin, known: await descriptions(plugin.kind), chosen };
		await printText(renderHelp(helpPage(spec, groups, choice)));
	}

	async function execute(words: readonly string[]): Promise<void> {
		const path = configPath(words);
		const file = path === undefined ? undefined : await openRunFile(path);
		const name = plugin && (firstWord(words) ?? nameInFile(file, plugin.kind));
		if (plugin && !plugin.optional && name === undefined) throw missingPlugin(spec.name, plugin.kind);
		const chosen = name === undefined ? undefined : await findContribution(plugin!.kind, name);
		const groups = await groupsOf(spec, chosen);
		const named = plugin && firstWord(words) !== undefined;
		const outputs = readOptions(named ? words.slice(1) : words, groups, withoutKey(file, plugin?.kind));
		const choices = groups.flatMap(({ contribution }, i): Chosen[] =>
			contribution ? [{ contribution, options: outputs[i] }] : [],
		);
		await inContext([...spec.name.split(" "), ...words], (context) =>
			run({
				own: outputs[0],
				chosen: chosen && choices[0],
				also: chosen ? choices.slice(1) : choices,
				context,
			}),
		);
	}
}

async function wordsOf(kind: ContributionKind): Promise<{ word: string; summary: string }[]> {
	return (await descriptions(kind)).map(({ name, summary }) => ({ word: name, summary }));
}

/** The verb's own options first, then those of the named contribution, then those of `also`. */
async function groupsOf(spec: VerbSpec, chosen: Contribution | undefined): Promise<OptionGroup[]> {
	const also = (await spec.also?.()) ?? [];
	const contributions = chosen ? [chosen, ...also] : also;
	const omitted: readonly string[] = (chosen && spec.omits?.(chosen)) ?? [];
	return [
		{
			schema: spec.options.omit(Object.fromEntries(omitted.map((key) => [key, true])) as Record<never, true>),
			positionals: (spec.positionals ?? []).filter(({ key }) => !omitted.includes(key)),
		},
		...contributions.map(
			(contribution): OptionGroup => ({
				schema: contribution.options,
				positionals: contribution.positional ? [contribution.positional] : [],
				contribution,
			}),
		),
	];
}

/** Runs with signals wired; a reader that went away ends the run quietly, an interruption with its exit code. */
async function inContext(words: readonly string[], run: (context: Context) => Promise<void>): Promise<void> {
	const context = createContext(words, words.includes("--debug"));
	try {
		await run(context);
		if (context.signal.aborted) process.exitCode = EXIT.interrupted;
	} catch (error) {
		if (isReaderGone(error)) return;
		throw isAbort(error) ? context.signal.reason : error;
	} finally {
		await context.close();
	}
}

/** Whether an error only says that the signal was aborted; the signal's reason says why. */
function isAbort(error: unknown): boolean {
	return error instanceof Error && error.name === "AbortError";
}

function firstWord(words: readonly string[]): string | undefined {
	return words[0]?.startsWith("-") ? undefined : words[0];
}

export function wantsHelp(words: readonly string[]): boolean {
	const end = words.indexOf("--");
	return words.slice(0, end < 0 ? words.length : end).some((word) => word === "--help" || word === "-h");
}

/** The run file's options; its plugins are added to the registry. */
async function openRunFile(path: string): Promise<RunFile> {
	const { plugins, values } = await readRunFile(path);
	await usePlugins(plugins);
	return { path, values };
}

function nameInFile(file: RunFile | undefined, kind: string): string | undefined {
	const name = file?.values[kind];
	if (name === undefined || typeof name === "string") return name;
	throw usageError(`${file!.path}: ${kind} must be the name of one`);
}

function withoutKey(file: RunFile | undefined, key: string | undefined): RunFile | undefined {
	if (!file || key === undefined) return file;
	const { [key]: _, ...values } = file.values;
	return { ...file, values };
}

function missingPlugin(verb: string, kind: ContributionKind): Error {
	const names = registry.names(kind);
	return usageError(
		`which ${kind}? Write its name right after the verb, e.g. sae ${verb} ${names[0] ?? "NAME"}` +
			(names.length > 1 ? ` (there is ${names.join(", ")})` : ""),
	);
}
